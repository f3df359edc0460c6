package docker

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/versions"
	"github.com/docker/go-connections/nat"

	"github.com/nomadlite/nomadlite/client/rootfs"
	"github.com/nomadlite/nomadlite/drivers/caps"
	"github.com/nomadlite/nomadlite/plugins/driver"
)

// Labels of our containers. Only what has both of the first two, with this
// node's id, is ever removed unasked.
const (
	labelAlloc   = "com.hashicorp.nomad.alloc_id"
	labelNode    = "com.nomadlite.node_id"
	labelTask    = "com.nomadlite.task_id" // of the start
	labelSpec    = "com.nomadlite.spec"    // digest of what was asked for
	labelSandbox = "com.nomadlite.sandbox" // a group's network, not a task

	sandboxContainer = "docker_sandbox_container_id" // labels of a network spec
	sandboxHostname  = "docker_sandbox_hostname"
)

// Limits of cgroups v1, which engines still speak.
const (
	minCPUShares = 2
	maxCPUShares = 262_144
)

// created is all that the engine needs to make a container.
type created struct {
	name    string
	config  *container.Config
	host    *container.HostConfig
	network *network.NetworkingConfig
	// portMap is what port_map made of the ports of a task's own network.
	portMap map[string]int32
	// warnings are told as events of the task.
	warnings []string
}

// builder turns a task into a container.
type builder struct {
	cfg   *driver.TaskConfig
	tc    *taskConfig
	site  *pluginConfig
	image string // id or name
	api   string // version of the engine's API
	cores int    // of the node

	out created
}

// containerName names a task's container.
func containerName(cfg *driver.TaskConfig) string {
	return strings.ReplaceAll(cfg.Name, "/", "_") + "-" + cfg.AllocID
}

// build makes the container's description. It touches the allocation's
// directory alone.
func (b *builder) build() (*created, error) {
	if err := b.tc.check(b.site); err != nil {
		return nil, err
	}
	b.out = created{
		name: containerName(b.cfg), config: &container.Config{}, host: &container.HostConfig{}, network: &network.NetworkingConfig{},
		portMap: map[string]int32{},
	}
	b.process()
	b.labels()
	for _, step := range []func() error{b.limits, b.security, b.networking, b.ports, b.mounts, b.logs} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	b.out.config.Env = environ(b.cfg, b.out.portMap)
	return &b.out, nil
}

// process is what runs and how.
func (b *builder) process() {
	c, tc := b.out.config, b.tc
	c.Image, c.User, c.Hostname, c.WorkingDir = b.image, b.cfg.User, tc.Hostname, tc.WorkDir
	c.Tty, c.OpenStdin, c.Entrypoint = tc.TTY, tc.Interactive, tc.Entrypoint
	if tc.Command != "" {
		c.Cmd = append([]string{tc.Command}, tc.Args...)
	} else if len(tc.Args) > 0 {
		c.Cmd = tc.Args
	}
	if tc.Healthchecks != nil && tc.Healthchecks.Disable {
		c.Healthcheck = &container.HealthConfig{Test: []string{"NONE"}}
	}
	h := b.out.host
	if tc.Init {
		h.Init = &tc.Init
	}
	h.Runtime, h.ReadonlyRootfs, h.StorageOpt, h.VolumeDriver = tc.Runtime, tc.ReadonlyRootfs, tc.StorageOpt, tc.VolumeDriver
	h.GroupAdd, h.ShmSize = tc.GroupAdd, tc.ShmSize
	h.PidMode, h.IpcMode = container.PidMode(tc.PidMode), container.IpcMode(tc.IPCMode)
	h.UTSMode, h.UsernsMode = container.UTSMode(tc.UTSMode), container.UsernsMode(tc.UsernsMode)
	h.CgroupnsMode = container.CgroupnsMode(tc.CgroupnsMode)
	if b.cfg.DeviceEnv["NVIDIA_VISIBLE_DEVICES"] != "" && tc.Runtime == "" && slices.Contains(b.site.AllowRuntimes, b.site.NvidiaRuntime) {
		h.Runtime = b.site.NvidiaRuntime
	}
}

// labels are the task's own, ours, and those that the site wants.
func (b *builder) labels() {
	out := merge(b.tc.Labels)
	cfg := b.cfg
	for name, value := range map[string]string{
		"job_name": cfg.JobName, "job_id": cfg.JobID, "parent_job_id": cfg.ParentJobID, "task_group_name": cfg.TaskGroupName,
		"task_name": cfg.Name, "namespace": cfg.Namespace, "node_name": cfg.NodeName, "node_id": cfg.NodeID,
	} {
		if matchesAny(b.site.ExtraLabels, name) && value != "" {
			out["com.hashicorp.nomad."+name] = value
		}
	}
	out[labelAlloc], out[labelNode], out[labelTask] = cfg.AllocID, cfg.NodeID, cfg.ID
	b.out.config.Labels = out
}

// limits are of memory, CPU, processes and files.
func (b *builder) limits() error {
	h, tc := b.out.host, b.tc
	r := b.cfg.Resources
	if r == nil {
		r = &driver.Resources{}
	}
	hard, soft, err := memoryLimits(r, tc.MemoryHardLimit)
	if err != nil {
		return err
	}
	h.Memory, h.MemorySwap, h.MemoryReservation = hard, hard, soft
	linux := r.Linux
	if linux == nil {
		linux = &driver.LinuxResources{}
	}
	h.CPUShares = cpuShares(r.CPUShares, linux.PercentTicks)
	h.CpusetCpus = linux.CpusetCpus
	if tc.CpusetCPUs != "" {
		b.out.warnings = append(b.out.warnings, "cpuset_cpus is ignored: reserve cores in the task's resources")
	}
	if tc.CPUHardLimit && linux.PercentTicks > 0 {
		h.CPUPeriod = tc.CPUCFSPeriod
		if h.CPUPeriod == 0 {
			h.CPUPeriod = 100_000
		}
		h.CPUQuota = max(int64(math.Round(linux.PercentTicks*float64(h.CPUPeriod)*float64(b.cores))), 1000)
	}
	h.OomScoreAdj = b.site.OOMScoreAdj
	if tc.OOMScoreAdj != 0 {
		h.OomScoreAdj = tc.OOMScoreAdj
	}
	if limit := b.site.PidsLimit; limit > 0 {
		h.PidsLimit = &limit
	}
	if tc.PidsLimit > 0 {
		h.PidsLimit = &tc.PidsLimit
	}
	ulimits := merge(tc.Ulimit)
	for _, name := range sortedKeys(ulimits) {
		soft, hard, _ := parseUlimit(ulimits[name]) // checked before
		h.Ulimits = append(h.Ulimits, &container.Ulimit{Name: name, Soft: soft, Hard: hard})
	}
	h.Sysctls = merge(tc.Sysctl)
	return nil
}

// memoryLimits are the limit that kills and the share that is kept, in bytes.
func memoryLimits(r *driver.Resources, taskHardMB int64) (hard, reservation int64, err error) {
	const mb = 1 << 20
	switch {
	case r.MemoryMaxMB < 0:
		return 0, r.MemoryMB * mb, nil
	case r.MemoryMaxMB == 0 && taskHardMB == 0:
		return r.MemoryMB * mb, 0, nil
	}
	hard, reservation = max(taskHardMB, r.MemoryMaxMB)*mb, r.MemoryMB*mb
	if reservation > hard {
		return 0, 0, fmt.Errorf("the memory to reserve (%d MB) is above the hard limit (%d MB)", reservation/mb, hard/mb)
	}
	return hard, reservation, nil
}

// cpuShares fits MHz into the kernel's range: on a node with more compute than
// the range holds, shares are scaled so that their proportions stay.
func cpuShares(mhz int64, share float64) int64 {
	if share > 0 {
		if total := float64(mhz) / share; total >= maxCPUShares {
			mhz = int64(float64(mhz) * maxCPUShares / total)
		}
	}
	return min(max(mhz, minCPUShares), maxCPUShares)
}

// security is what the container may do on its host.
func (b *builder) security() error {
	h := b.out.host
	h.Privileged, h.SecurityOpt = b.tc.Privileged, b.tc.SecurityOpt
	if !b.tc.Privileged {
		add, err := caps.Parse("cap_add", b.tc.CapAdd)
		if err != nil {
			return err
		}
		drop, err := caps.Parse("cap_drop", b.tc.CapDrop)
		if err != nil {
			return err
		}
		set, err := caps.Adjust(b.site.allowCaps, add, drop)
		if err != nil {
			return err
		}
		h.CapAdd, h.CapDrop = upper(set.Add), upper(set.Drop)
	}
	for _, d := range b.tc.Devices {
		h.Devices = append(h.Devices, deviceMapping(d.HostPath, d.ContainerPath, d.Permissions))
	}
	for _, d := range b.cfg.Devices { // of the agent
		h.Devices = append(h.Devices, deviceMapping(d.HostPath, d.TaskPath, d.CgroupPermissions))
	}
	return nil
}

func deviceMapping(host, inside, permissions string) container.DeviceMapping {
	if inside == "" {
		inside = host
	}
	if permissions == "" {
		permissions = "rwm"
	}
	return container.DeviceMapping{PathOnHost: host, PathInContainer: inside, CgroupPermissions: permissions}
}

func upper(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = strings.ToUpper(n)
	}
	return out
}

// grouped reports whether the task joins its group's network.
func (b *builder) grouped() bool {
	n := b.cfg.NetworkIsolation
	return n != nil && n.Mode == driver.NetworkGroup && b.tc.NetworkMode == ""
}

func (b *builder) networking() error {
	h, tc := b.out.host, b.tc
	h.NetworkMode = "default"
	switch n := b.cfg.NetworkIsolation; {
	case tc.NetworkMode != "":
		h.NetworkMode = container.NetworkMode(tc.NetworkMode)
	case b.grouped():
		id := n.Labels[sandboxContainer]
		if id == "" {
			return fmt.Errorf("the group's network was not made by the docker driver: a container can only join one that was")
		}
		h.NetworkMode = container.NetworkMode("container:" + id)
		b.out.config.Hostname = "" // belongs to the group's container
	}
	b.names()
	shared := h.NetworkMode.IsHost() || h.NetworkMode.IsContainer()
	if len(tc.NetworkAliases) == 0 && tc.IPv4Address == "" && tc.IPv6Address == "" && tc.MacAddress == "" {
		return nil
	}
	if shared {
		return fmt.Errorf("network_aliases, ipv4_address, ipv6_address and mac_address need a network of the task's own: network_mode is %q", h.NetworkMode)
	}
	end := &network.EndpointSettings{Aliases: tc.NetworkAliases}
	if tc.IPv4Address != "" || tc.IPv6Address != "" {
		end.IPAMConfig = &network.EndpointIPAMConfig{IPv4Address: tc.IPv4Address, IPv6Address: tc.IPv6Address}
	}
	if versions.LessThan(b.api, "1.44") {
		//lint:ignore SA1019 engines before API 1.44 know no other place
		b.out.config.MacAddress = tc.MacAddress
	} else {
		end.MacAddress = tc.MacAddress
	}
	b.out.network.EndpointsConfig = map[string]*network.EndpointSettings{string(h.NetworkMode): end}
	return nil
}

// names configures how the container resolves names. The files of a network
// that it joins belong to another container, unless they are mounted over.
func (b *builder) names() {
	h, tc := b.out.host, b.tc
	if !h.NetworkMode.IsContainer() {
		h.ExtraHosts = tc.ExtraHosts
		if b.cfg.DNS == nil {
			h.DNS, h.DNSSearch, h.DNSOptions = tc.DNSServers, tc.DNSSearchDomains, tc.DNSOptions
		}
		return
	}
	ignored := func(what string) {
		b.out.warnings = append(b.out.warnings, what+" is ignored: the task joins a network whose resolver is another container's; set it in the group's network block")
	}
	if b.cfg.DNS == nil && len(tc.DNSServers)+len(tc.DNSSearchDomains)+len(tc.DNSOptions) > 0 {
		ignored("dns_servers, dns_search_domains or dns_options")
	}
	if len(tc.ExtraHosts) > 0 && !b.grouped() {
		ignored("extra_hosts")
	}
}

// ports publishes what the task names. In a group's network the agent does.
func (b *builder) ports() error {
	r := b.cfg.Resources
	if r == nil || b.grouped() || b.out.host.NetworkMode.IsHost() || b.out.host.NetworkMode.IsContainer() {
		return nil
	}
	b.out.config.ExposedPorts, b.out.host.PortBindings = nat.PortSet{}, nat.PortMap{}
	for _, label := range b.tc.Ports {
		i := slices.IndexFunc(r.Ports, func(p *driver.PortMapping) bool { return p.Label == label })
		if i < 0 {
			return fmt.Errorf("Port %q not found, check network block", label)
		}
		p := r.Ports[i]
		inside := p.To
		if inside <= 0 {
			inside = p.Value
		}
		b.publish(p.HostIP, p.Value, inside)
	}
	return b.legacyPorts(r)
}

// legacyPorts publishes the ports of a network of the task itself.
func (b *builder) legacyPorts(r *driver.Resources) error {
	wanted := merge(b.tc.PortMap)
	for _, n := range r.Networks {
		for _, p := range slices.Concat(n.ReservedPorts, n.DynamicPorts) {
			inside := p.Value
			if to, ok := wanted[p.Label]; ok {
				inside = int32(to)
				delete(wanted, p.Label)
			}
			b.publish(n.IP, p.Value, inside)
			b.out.portMap[p.Label] = inside
		}
	}
	for label := range wanted {
		return fmt.Errorf("Port %q not found, check network block: port_map is for networks of the task's own resources", label)
	}
	return nil
}

func (b *builder) publish(ip string, host, inside int32) {
	for _, proto := range []string{"tcp", "udp"} {
		port := nat.Port(strconv.Itoa(int(inside)) + "/" + proto)
		b.out.config.ExposedPorts[port] = struct{}{}
		b.out.host.PortBindings[port] = append(b.out.host.PortBindings[port], nat.PortBinding{HostIP: ip, HostPort: strconv.Itoa(int(host))})
	}
}

// mounts resolves paths and writes the files of name resolution.
func (b *builder) mounts() error {
	dir, err := rootfs.OpenDir(b.cfg.AllocDir)
	if err != nil {
		return fmt.Errorf("cannot open the allocation's directory: %w", err)
	}
	defer dir.Close()
	base, err := dir.RealDir(".", false)
	if err != nil {
		return err
	}
	m := &mounter{cfg: b.cfg, site: b.site, dir: dir, base: base}
	if err := m.collect(b.tc); err != nil {
		return err
	}
	write := func(name, target, content string) error {
		if err := dir.WriteFile(b.cfg.Name+"/"+name, []byte(content), 0o644); err != nil {
			return fmt.Errorf("cannot write %s of the task: %w", target, err)
		}
		m.bind(filepath.Join(b.cfg.AllocDir, b.cfg.Name, name), target, false, "")
		return nil
	}
	if b.grouped() {
		if err := write("hosts", "/etc/hosts", hostsFile(b.cfg.NetworkIsolation, b.tc.ExtraHosts)); err != nil {
			return err
		}
	}
	if b.cfg.DNS != nil {
		if err := write("resolv.conf", "/etc/resolv.conf", b.cfg.DNS.ResolvConf()); err != nil {
			return err
		}
	}
	b.out.host.Binds, b.out.host.Mounts = m.binds, m.mounts
	return nil
}

// hostsFile is /etc/hosts of a task in its group's network.
func hostsFile(n *driver.NetworkIsolationSpec, extra []string) string {
	var out strings.Builder
	out.WriteString("# made by nomadlite\n127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n")
	if h := n.Hosts; h != nil && h.Address != "" && h.Hostname != "" {
		fmt.Fprintf(&out, "%s %s\n", h.Address, h.Hostname)
	}
	for _, e := range extra {
		if name, ip, ok := strings.Cut(e, ":"); ok {
			fmt.Fprintf(&out, "%s %s\n", ip, name)
		}
	}
	return out.String()
}

// logs configures the engine's own copy of the output.
func (b *builder) logs() error {
	l := b.site.Logging
	if t := b.tc.Logging; t != nil {
		if t.Type != "" && t.Driver != "" && t.Type != t.Driver {
			return fmt.Errorf("logging: type %q and driver %q say the same thing differently: set type alone", t.Type, t.Driver)
		}
		own := *t
		if own.Type == "" {
			own.Type = own.Driver
		}
		if own.Type == "" {
			own.Type = l.Type
		}
		l = &own
	}
	b.out.host.LogConfig = container.LogConfig{Type: l.Type, Config: merge(l.Config)}
	if l.Type == "json-file" && len(l.Config) == 0 {
		b.out.host.LogConfig.Config = merge(defaultLogging.Config)
	}
	return nil
}

// environ is the container's environment in a stable order.
func environ(cfg *driver.TaskConfig, portMap map[string]int32) []string {
	env := map[string]string{}
	for k, v := range cfg.Env {
		env[k] = v
	}
	for k, v := range cfg.DeviceEnv {
		env[k] = v
	}
	for label, port := range portMap {
		env["NOMAD_PORT_"+label] = strconv.Itoa(int(port))
	}
	out := make([]string, 0, len(env))
	for _, k := range sortedKeys(env) {
		out = append(out, k+"="+env[k])
	}
	return out
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

// fileMode keeps the bits of a mode that job files write as octal numbers.
func fileMode(mode int) os.FileMode { return os.FileMode(mode) & os.ModePerm }
