package docker

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nomadlite/nomadlite/drivers/caps"
	"github.com/nomadlite/nomadlite/plugins/hclspec"
)

// taskConfig is the config block of a task, as it travels.
// Facts: reference driver-plugin.md 10.7.
type taskConfig struct {
	Image            string              `codec:"image"`
	AdvertiseIPv6    bool                `codec:"advertise_ipv6_address"`
	Args             []string            `codec:"args"`
	Auth             *taskAuth           `codec:"auth"`
	AuthSoftFail     bool                `codec:"auth_soft_fail"`
	CapAdd           []string            `codec:"cap_add"`
	CapDrop          []string            `codec:"cap_drop"`
	CgroupnsMode     string              `codec:"cgroupns"`
	Command          string              `codec:"command"`
	ExistsAttempts   int                 `codec:"container_exists_attempts"`
	CPUCFSPeriod     int64               `codec:"cpu_cfs_period"`
	CPUHardLimit     bool                `codec:"cpu_hard_limit"`
	CpusetCPUs       string              `codec:"cpuset_cpus"`
	Devices          []device            `codec:"devices"`
	DNSOptions       []string            `codec:"dns_options"`
	DNSSearchDomains []string            `codec:"dns_search_domains"`
	DNSServers       []string            `codec:"dns_servers"`
	Entrypoint       []string            `codec:"entrypoint"`
	ExtraHosts       []string            `codec:"extra_hosts"`
	ForcePull        bool                `codec:"force_pull"`
	GroupAdd         []string            `codec:"group_add"`
	Healthchecks     *healthchecks       `codec:"healthchecks"`
	Hostname         string              `codec:"hostname"`
	ImagePullTimeout string              `codec:"image_pull_timeout"`
	Init             bool                `codec:"init"`
	Interactive      bool                `codec:"interactive"`
	IPCMode          string              `codec:"ipc_mode"`
	IPv4Address      string              `codec:"ipv4_address"`
	IPv6Address      string              `codec:"ipv6_address"`
	Isolation        string              `codec:"isolation"`
	Labels           []map[string]string `codec:"labels"`
	Load             string              `codec:"load"`
	Logging          *logging            `codec:"logging"`
	MacAddress       string              `codec:"mac_address"`
	MemoryHardLimit  int64               `codec:"memory_hard_limit"`
	Mount            []mountConfig       `codec:"mount"`
	Mounts           []mountConfig       `codec:"mounts"`
	NetworkAliases   []string            `codec:"network_aliases"`
	NetworkMode      string              `codec:"network_mode"`
	OOMScoreAdj      int                 `codec:"oom_score_adj"`
	PidMode          string              `codec:"pid_mode"`
	PidsLimit        int64               `codec:"pids_limit"`
	PortMap          []map[string]int    `codec:"port_map"`
	Ports            []string            `codec:"ports"`
	Privileged       bool                `codec:"privileged"`
	ReadonlyRootfs   bool                `codec:"readonly_rootfs"`
	Runtime          string              `codec:"runtime"`
	SecurityOpt      []string            `codec:"security_opt"`
	ShmSize          int64               `codec:"shm_size"`
	StorageOpt       map[string]string   `codec:"storage_opt"`
	Sysctl           []map[string]string `codec:"sysctl"`
	TTY              bool                `codec:"tty"`
	Ulimit           []map[string]string `codec:"ulimit"`
	UsernsMode       string              `codec:"userns_mode"`
	UTSMode          string              `codec:"uts_mode"`
	VolumeDriver     string              `codec:"volume_driver"`
	Volumes          []string            `codec:"volumes"`
	WorkDir          string              `codec:"work_dir"`
}

type taskAuth struct {
	Username      string `codec:"username"`
	Password      string `codec:"password"`
	Email         string `codec:"email"`
	ServerAddress string `codec:"server_address"`
}

type device struct {
	HostPath      string `codec:"host_path"`
	ContainerPath string `codec:"container_path"`
	Permissions   string `codec:"cgroup_permissions"`
}

type healthchecks struct {
	Disable bool `codec:"disable"`
}

// logging is the engine's logging driver. Driver is an older word for Type.
type logging struct {
	Type   string              `codec:"type"`
	Driver string              `codec:"driver"`
	Config []map[string]string `codec:"config"`
}

type mountConfig struct {
	Type     string         `codec:"type"`
	Target   string         `codec:"target"`
	Source   string         `codec:"source"`
	Readonly bool           `codec:"readonly"`
	Bind     *bindOptions   `codec:"bind_options"`
	Tmpfs    *tmpfsOptions  `codec:"tmpfs_options"`
	Volume   *volumeOptions `codec:"volume_options"`
}

type bindOptions struct {
	Propagation string `codec:"propagation"`
}

type tmpfsOptions struct {
	SizeBytes int64 `codec:"size"`
	Mode      int   `codec:"mode"`
}

type volumeOptions struct {
	NoCopy bool                `codec:"no_copy"`
	Labels []map[string]string `codec:"labels"`
	Driver *volumeDriver       `codec:"driver_config"`
}

type volumeDriver struct {
	Name    string              `codec:"name"`
	Options []map[string]string `codec:"options"`
}

var mountSpec = hclspec.NewObject(specs{
	"type":         hclspec.NewText("type", "volume"),
	"target":       attr("target", "string"),
	"source":       attr("source", "string"),
	"readonly":     attr("readonly", "bool"),
	"bind_options": block("bind_options", specs{"propagation": attr("propagation", "string")}),
	"tmpfs_options": block("tmpfs_options", specs{
		"size": attr("size", "number"), "mode": attr("mode", "number"),
	}),
	"volume_options": block("volume_options", specs{
		"no_copy": attr("no_copy", "bool"), "labels": attr("labels", "list(map(string))"),
		"driver_config": block("driver_config", specs{"name": attr("name", "string"), "options": attr("options", "list(map(string))")}),
	}),
})

var taskSchema = hclspec.NewObject(specs{
	"image":                     hclspec.NewAttr("image", "string", true),
	"advertise_ipv6_address":    attr("advertise_ipv6_address", "bool"),
	"args":                      attr("args", "list(string)"),
	"auth":                      block("auth", specs{"username": attr("username", "string"), "password": attr("password", "string"), "email": attr("email", "string"), "server_address": attr("server_address", "string")}),
	"auth_soft_fail":            attr("auth_soft_fail", "bool"),
	"cap_add":                   attr("cap_add", "list(string)"),
	"cap_drop":                  attr("cap_drop", "list(string)"),
	"cgroupns":                  attr("cgroupns", "string"),
	"command":                   attr("command", "string"),
	"container_exists_attempts": attr("container_exists_attempts", "number"),
	"cpu_cfs_period":            hclspec.NewNumber("cpu_cfs_period", "100000"),
	"cpu_hard_limit":            hclspec.NewFlag("cpu_hard_limit"),
	"cpuset_cpus":               attr("cpuset_cpus", "string"),
	"devices": hclspec.NewBlockList("devices", 0, 0, hclspec.NewObject(specs{
		"host_path": attr("host_path", "string"), "container_path": attr("container_path", "string"),
		"cgroup_permissions": attr("cgroup_permissions", "string"),
	})),
	"dns_options":        attr("dns_options", "list(string)"),
	"dns_search_domains": attr("dns_search_domains", "list(string)"),
	"dns_servers":        attr("dns_servers", "list(string)"),
	"entrypoint":         attr("entrypoint", "list(string)"),
	"extra_hosts":        attr("extra_hosts", "list(string)"),
	"force_pull":         attr("force_pull", "bool"),
	"group_add":          attr("group_add", "list(string)"),
	"healthchecks":       block("healthchecks", specs{"disable": attr("disable", "bool")}),
	"hostname":           attr("hostname", "string"),
	"image_pull_timeout": attr("image_pull_timeout", "string"),
	"init":               attr("init", "bool"),
	"interactive":        attr("interactive", "bool"),
	"ipc_mode":           attr("ipc_mode", "string"),
	"ipv4_address":       attr("ipv4_address", "string"),
	"ipv6_address":       attr("ipv6_address", "string"),
	"isolation":          attr("isolation", "string"),
	"labels":             attr("labels", "list(map(string))"),
	"load":               attr("load", "string"),
	"logging": block("logging", specs{
		"type": attr("type", "string"), "driver": attr("driver", "string"), "config": attr("config", "list(map(string))"),
	}),
	"mac_address":       attr("mac_address", "string"),
	"memory_hard_limit": attr("memory_hard_limit", "number"),
	"mount":             hclspec.NewBlockList("mount", 0, 0, mountSpec),
	"mounts":            hclspec.NewBlockList("mounts", 0, 0, mountSpec),
	"network_aliases":   attr("network_aliases", "list(string)"),
	"network_mode":      attr("network_mode", "string"),
	"oom_score_adj":     attr("oom_score_adj", "number"),
	"pid_mode":          attr("pid_mode", "string"),
	"pids_limit":        attr("pids_limit", "number"),
	"port_map":          attr("port_map", "list(map(number))"),
	"ports":             attr("ports", "list(string)"),
	"privileged":        attr("privileged", "bool"),
	"readonly_rootfs":   attr("readonly_rootfs", "bool"),
	"runtime":           attr("runtime", "string"),
	"security_opt":      attr("security_opt", "list(string)"),
	"shm_size":          attr("shm_size", "number"),
	"storage_opt":       hclspec.NewBlockAttrs("storage_opt", "string", false),
	"sysctl":            attr("sysctl", "list(map(string))"),
	"tty":               attr("tty", "bool"),
	"ulimit":            attr("ulimit", "list(map(string))"),
	"userns_mode":       attr("userns_mode", "string"),
	"uts_mode":          attr("uts_mode", "string"),
	"volume_driver":     attr("volume_driver", "string"),
	"volumes":           attr("volumes", "list(string)"),
	"work_dir":          attr("work_dir", "string"),
})

// maxCFSPeriod is the kernel's, in microseconds.
const maxCFSPeriod = 1_000_000

// check reports everything that is wrong with a task's config, and what the
// site does not allow. Paths are checked where they are resolved.
func (c *taskConfig) check(site *pluginConfig) error {
	c.Image = strings.TrimPrefix(strings.TrimSpace(c.Image), "https://")
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Image == "" {
		bad("image name required for docker driver")
	}
	if c.CPUCFSPeriod < 0 || c.CPUCFSPeriod > maxCFSPeriod {
		bad("invalid value for cpu_cfs_period: %d is not between 0 and %d", c.CPUCFSPeriod, maxCFSPeriod)
	}
	if c.CgroupnsMode != "" && c.CgroupnsMode != "host" && c.CgroupnsMode != "private" {
		bad("invalid cgroupns: %q is neither host nor private", c.CgroupnsMode)
	}
	if c.Isolation != "" {
		bad("invalid isolation: %q can be set on Windows alone", c.Isolation)
	}
	if site.PidsLimit > 0 && c.PidsLimit > site.PidsLimit {
		bad("pids_limit cannot be greater than nomad plugin config pids_limit: %d > %d", c.PidsLimit, site.PidsLimit)
	}
	if c.ShmSize < 0 || c.MemoryHardLimit < 0 || c.PidsLimit < 0 {
		bad("shm_size, memory_hard_limit and pids_limit must not be negative")
	}
	if c.ImagePullTimeout != "" {
		if d, err := time.ParseDuration(c.ImagePullTimeout); err != nil || d <= 0 {
			bad("cannot use image_pull_timeout %q: it is a duration like 5m", c.ImagePullTimeout)
		}
	}
	for _, h := range c.ExtraHosts {
		if name, ip, ok := strings.Cut(h, ":"); !ok || name == "" || ip == "" {
			bad("cannot use extra_hosts: %q is not of the form name:address", h)
		}
	}
	errs = append(errs, checkWorkDir(c.WorkDir), c.checkPrivileges(site), c.checkModes(site), c.checkUlimits(), c.checkSysctls(site))
	return errors.Join(errs...)
}

// procPath are the paths through which a working directory could lead out of
// the container by what the runtime has open (CVE-2024-21626).
var procPath = regexp.MustCompile(`^/+(proc|dev/fd)(/|$)`)

// checkWorkDir refuses a working directory that leads through open files.
func checkWorkDir(dir string) error {
	switch {
	case dir == "":
		return nil
	case !strings.HasPrefix(dir, "/"):
		return fmt.Errorf("work_dir must be an absolute path: got %q", dir)
	case procPath.MatchString(path.Clean(dir)):
		return fmt.Errorf("work_dir must not lead through /proc: got %q", dir)
	}
	return nil
}

// looseSecurityOpts are security options that take protection away.
var looseSecurityOpts = regexp.MustCompile(`(?i)(unconfined|disable|no-new-privileges[:=]false)`)

// checkPrivileges guards what gives a container rights on its host.
func (c *taskConfig) checkPrivileges(site *pluginConfig) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Privileged && !site.AllowPrivileged {
		bad("Docker privileged mode is disabled on this Nomad agent")
	}
	for _, field := range []struct {
		name string
		list []string
	}{{"cap_add", c.CapAdd}, {"cap_drop", c.CapDrop}} {
		if _, err := caps.Parse(field.name, field.list); err != nil {
			errs = append(errs, err)
		}
	}
	if add, err := caps.Parse("cap_add", c.CapAdd); err == nil {
		if _, err := caps.Adjust(site.allowCaps, add, nil); err != nil {
			errs = append(errs, err)
		}
	}
	if c.Runtime != "" && !slices.Contains(site.AllowRuntimes, c.Runtime) {
		bad("requested runtime %q is not allowed: allow_runtimes of this node is %s", c.Runtime, strings.Join(site.AllowRuntimes, ", "))
	}
	for _, d := range c.Devices {
		switch {
		case d.HostPath == "":
			bad("host path must be set in configuration for devices")
		case !site.deviceAllowed(d.HostPath):
			bad("device %q is not allowed: add it to allow_devices of the docker plugin's config on this node", d.HostPath)
		case strings.Trim(d.Permissions, "rwm") != "":
			bad("cannot use cgroup_permissions %q of device %q: they are of the letters r, w and m", d.Permissions, d.HostPath)
		}
	}
	for _, opt := range c.SecurityOpt {
		if looseSecurityOpts.MatchString(opt) && !site.AllowPrivileged && !matchesAny(site.AllowSecurityOpts, opt) {
			bad("security_opt %q is not allowed: add it to allow_security_opts of the docker plugin's config on this node", opt)
		}
	}
	return errors.Join(errs...)
}

// checkModes guards the namespaces of the host and of other containers.
func (c *taskConfig) checkModes(site *pluginConfig) error {
	var errs []error
	for _, m := range []struct {
		field, value string
		own          []string // values that give the container one of its own
		allowed      []string
	}{
		{"pid_mode", c.PidMode, []string{""}, site.AllowedModes.Pid},
		{"ipc_mode", c.IPCMode, []string{"", "none", "private"}, site.AllowedModes.Ipc},
		{"uts_mode", c.UTSMode, []string{""}, site.AllowedModes.Uts},
		{"userns_mode", c.UsernsMode, []string{""}, site.AllowedModes.Userns},
	} {
		if slices.Contains(m.own, m.value) || site.AllowPrivileged || matchesAny(m.allowed, m.value) {
			continue
		}
		errs = append(errs, fmt.Errorf("%s %q is not allowed: allowed_modes of the docker plugin's config on this node does not name it", m.field, m.value))
	}
	return errors.Join(errs...)
}

// sysctls of a namespace: the engine refuses others unless a container is
// privileged, and so do we, before anything is made.
var namespacedSysctl = regexp.MustCompile(`^(net\.|fs\.mqueue\.|kernel\.(msgmax|msgmnb|msgmni|sem|shmall|shmmax|shmmni|shm_rmid_forced|domainname)$)`)

func (c *taskConfig) checkSysctls(site *pluginConfig) error {
	for k := range merge(c.Sysctl) {
		if !namespacedSysctl.MatchString(k) && !(c.Privileged && site.AllowPrivileged) {
			return fmt.Errorf("sysctl %q is not allowed: it is not of a namespace, so it would change the whole host", k)
		}
	}
	return nil
}

func (c *taskConfig) checkUlimits() error {
	for name, value := range merge(c.Ulimit) {
		if _, _, err := parseUlimit(value); err != nil {
			return fmt.Errorf("malformed ulimit %s: %w", name, err)
		}
	}
	return nil
}

// parseUlimit reads "soft" or "soft:hard".
func parseUlimit(value string) (soft, hard int64, err error) {
	first, second, two := strings.Cut(value, ":")
	if soft, err = strconv.ParseInt(first, 10, 64); err != nil {
		return 0, 0, fmt.Errorf("%q is not of the form soft:hard", value)
	}
	hard = soft
	if two {
		if hard, err = strconv.ParseInt(second, 10, 64); err != nil {
			return 0, 0, fmt.Errorf("%q is not of the form soft:hard", value)
		}
	}
	if hard >= 0 && soft > hard {
		return 0, 0, fmt.Errorf("%q: the soft limit is above the hard one", value)
	}
	return soft, hard, nil
}

// merge is one map of several; later ones win.
func merge[V any](list []map[string]V) map[string]V {
	out := map[string]V{}
	for _, m := range list {
		for k, v := range m {
			out[k] = v
		}
	}
	return out
}
