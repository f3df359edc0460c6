package docker

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/nomadlite/nomadlite/drivers/caps"
	"github.com/nomadlite/nomadlite/plugins/hclspec"
)

// pluginConfig is the configuration of the plugin, as it travels.
// Facts: reference driver-plugin.md 10.6.
type pluginConfig struct {
	Endpoint          string         `codec:"endpoint"`
	Auth              *authFiles     `codec:"auth"`
	TLS               *tlsFiles      `codec:"tls"`
	ExtraLabels       []string       `codec:"extra_labels"`
	Logging           *logging       `codec:"logging"`
	GC                *gcConfig      `codec:"gc"`
	Volumes           *volumesConfig `codec:"volumes"`
	AllowPrivileged   bool           `codec:"allow_privileged"`
	AllowCaps         []string       `codec:"allow_caps"`
	NvidiaRuntime     string         `codec:"nvidia_runtime"`
	AllowRuntimes     []string       `codec:"allow_runtimes"`
	AllowDevices      []string       `codec:"allow_devices"`
	AllowSecurityOpts []string       `codec:"allow_security_opts"`
	InfraImage        string         `codec:"infra_image"`
	InfraPullTimeout  string         `codec:"infra_image_pull_timeout"`
	ImagePullTimeout  string         `codec:"image_pull_timeout"`
	ExistsAttempts    int            `codec:"container_exists_attempts"`
	OOMScoreAdj       int            `codec:"oom_score_adj"`
	PullActivity      string         `codec:"pull_activity_timeout"`
	PidsLimit         int64          `codec:"pids_limit"`
	DisableLogs       bool           `codec:"disable_log_collection"`
	WindowsAdmin      bool           `codec:"windows_allow_insecure_container_admin"`
	AllowedModes      *allowedModes  `codec:"allowed_modes"`
	MaxParallelStarts int            `codec:"max_parallel_starts"`
	pullTimeout       time.Duration
	infraTimeout      time.Duration
	pullActivity      time.Duration
	imageDelay        time.Duration
	danglingPeriod    time.Duration
	danglingGrace     time.Duration
	allowCaps         []string
	removeImages      bool
	removeContainers  bool
	reapDangling      bool
	reapDry           bool
}

type authFiles struct {
	Config string `codec:"config"` // path of a docker config.json
	Helper string `codec:"helper"` // docker-credential-<helper>
}

type tlsFiles struct {
	Cert string `codec:"cert"`
	Key  string `codec:"key"`
	CA   string `codec:"ca"`
}

type gcConfig struct {
	Image          *bool           `codec:"image"`
	ImageDelay     string          `codec:"image_delay"`
	ImagePins      []string        `codec:"image_pins"`
	ImageDiskLimit int             `codec:"image_disk_percent"`
	Container      *bool           `codec:"container"`
	Dangling       *danglingConfig `codec:"dangling_containers"`
}

type danglingConfig struct {
	Enabled       *bool  `codec:"enabled"`
	Period        string `codec:"period"`
	CreationGrace string `codec:"creation_grace"`
	DryRun        bool   `codec:"dry_run"`
}

type volumesConfig struct {
	Enabled      bool   `codec:"enabled"`
	SELinuxLabel string `codec:"selinuxlabel"`
}

// allowedModes are patterns of namespaces of others that tasks may join.
type allowedModes struct {
	Pid    []string `codec:"pid"`
	Ipc    []string `codec:"ipc"`
	Userns []string `codec:"userns"`
	Uts    []string `codec:"uts"`
}

// defaultLogging keeps an engine's own copy of the output small.
var defaultLogging = logging{Type: "json-file", Config: []map[string]string{{"max-file": "2", "max-size": "2m"}}}

func attr(name, typ string) *hclspec.Spec { return hclspec.NewAttr(name, typ, false) }

func block(name string, nested map[string]*hclspec.Spec) *hclspec.Spec {
	return hclspec.NewBlock(name, false, hclspec.NewObject(nested))
}

type specs = map[string]*hclspec.Spec

var pluginSchema = hclspec.NewObject(specs{
	"endpoint":     attr("endpoint", "string"),
	"auth":         block("auth", specs{"config": attr("config", "string"), "helper": attr("helper", "string")}),
	"tls":          block("tls", specs{"cert": attr("cert", "string"), "key": attr("key", "string"), "ca": attr("ca", "string")}),
	"extra_labels": attr("extra_labels", "list(string)"),
	"logging":      block("logging", specs{"type": hclspec.NewText("type", "json-file"), "config": attr("config", "list(map(string))")}),
	"gc": block("gc", specs{
		"image": attr("image", "bool"), "image_delay": hclspec.NewText("image_delay", "3m"), "container": attr("container", "bool"),
		"image_pins": attr("image_pins", "list(string)"), "image_disk_percent": hclspec.NewNumber("image_disk_percent", "90"),
		"dangling_containers": block("dangling_containers", specs{
			"enabled": attr("enabled", "bool"), "period": hclspec.NewText("period", "5m"), "creation_grace": hclspec.NewText("creation_grace", "5m"),
			"dry_run": hclspec.NewFlag("dry_run"),
		}),
	}),
	"volumes":                                block("volumes", specs{"enabled": hclspec.NewFlag("enabled"), "selinuxlabel": attr("selinuxlabel", "string")}),
	"allow_privileged":                       hclspec.NewFlag("allow_privileged"),
	"allow_caps":                             attr("allow_caps", "list(string)"),
	"nvidia_runtime":                         hclspec.NewText("nvidia_runtime", "nvidia"),
	"allow_runtimes":                         attr("allow_runtimes", "list(string)"),
	"allow_devices":                          attr("allow_devices", "list(string)"),
	"allow_security_opts":                    attr("allow_security_opts", "list(string)"),
	"infra_image":                            hclspec.NewText("infra_image", "registry.k8s.io/pause-"+runtime.GOARCH+":3.3"),
	"infra_image_pull_timeout":               hclspec.NewText("infra_image_pull_timeout", "5m"),
	"image_pull_timeout":                     hclspec.NewText("image_pull_timeout", "5m"),
	"container_exists_attempts":              hclspec.NewNumber("container_exists_attempts", "5"),
	"oom_score_adj":                          hclspec.NewNumber("oom_score_adj", "0"),
	"pull_activity_timeout":                  hclspec.NewText("pull_activity_timeout", "2m"),
	"pids_limit":                             hclspec.NewNumber("pids_limit", "0"),
	"disable_log_collection":                 hclspec.NewFlag("disable_log_collection"),
	"windows_allow_insecure_container_admin": hclspec.NewFlag("windows_allow_insecure_container_admin"),
	"allowed_modes": block("allowed_modes", specs{
		"pid": attr("pid", "list(string)"), "ipc": attr("ipc", "list(string)"),
		"userns": attr("userns", "list(string)"), "uts": attr("uts", "list(string)"),
	}),
	"max_parallel_starts": hclspec.NewNumber("max_parallel_starts", "0"),
})

// Limits of the plugin's configuration.
const (
	minPullActivity  = time.Minute
	minCreationGrace = time.Minute
)

// complete fills defaults and checks everything; all problems are told at once.
func (c *pluginConfig) complete() error {
	c.fillDefaults()
	var errs []error
	duration := func(field, value string, least time.Duration) time.Duration {
		d, err := time.ParseDuration(value)
		if err == nil && d < least {
			err = fmt.Errorf("at least %s is needed", least)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("cannot use %s %q: %w", field, value, err))
		}
		return d
	}
	c.pullTimeout = duration("image_pull_timeout", c.ImagePullTimeout, time.Second)
	c.infraTimeout = duration("infra_image_pull_timeout", c.InfraPullTimeout, time.Second)
	c.pullActivity = duration("pull_activity_timeout", c.PullActivity, minPullActivity)
	c.imageDelay = duration("gc.image_delay", c.GC.ImageDelay, 0)
	c.danglingPeriod = duration("gc.dangling_containers.period", c.GC.Dangling.Period, time.Second)
	c.danglingGrace = duration("gc.dangling_containers.creation_grace", c.GC.Dangling.CreationGrace, minCreationGrace)
	var err error
	if c.allowCaps, err = caps.Parse("allow_caps", c.AllowCaps); err != nil {
		errs = append(errs, err)
	}
	if p := c.GC.ImageDiskLimit; p < 1 || p > 100 {
		errs = append(errs, fmt.Errorf("cannot use gc.image_disk_percent %d: it is a percentage, 1 to 100", p))
	}
	if c.PidsLimit < 0 {
		errs = append(errs, fmt.Errorf("cannot use pids_limit %d: it must not be negative", c.PidsLimit))
	}
	if c.Auth != nil && !helperName.MatchString(c.Auth.Helper) {
		errs = append(errs, fmt.Errorf("cannot use auth.helper %q: it is the part after docker-credential-, without any path", c.Auth.Helper))
	}
	if c.TLS != nil && (c.TLS.Cert == "") != (c.TLS.Key == "") {
		errs = append(errs, errors.New("cannot use tls: cert and key come together"))
	}
	for field, patterns := range map[string][]string{
		"extra_labels": c.ExtraLabels, "allow_devices": c.AllowDevices, "allow_security_opts": c.AllowSecurityOpts,
		"allowed_modes.pid": c.AllowedModes.Pid, "allowed_modes.ipc": c.AllowedModes.Ipc,
		"allowed_modes.uts": c.AllowedModes.Uts, "allowed_modes.userns": c.AllowedModes.Userns, "gc.image_pins": c.GC.ImagePins,
	} {
		for _, p := range patterns {
			if _, err := path.Match(p, ""); err != nil {
				errs = append(errs, fmt.Errorf("cannot use %s: %q is no pattern: %w", field, p, err))
			}
		}
	}
	return errors.Join(errs...)
}

// fillDefaults is for what the schema cannot say: blocks that are absent.
func (c *pluginConfig) fillDefaults() {
	if c.GC == nil {
		c.GC = &gcConfig{}
	}
	if c.GC.Dangling == nil {
		c.GC.Dangling = &danglingConfig{}
	}
	if c.AllowedModes == nil {
		c.AllowedModes = &allowedModes{}
	}
	if c.Volumes == nil {
		c.Volumes = &volumesConfig{}
	}
	if c.Logging == nil {
		c.Logging = &defaultLogging
	}
	for _, s := range []struct {
		field    *string
		fallback string
	}{
		{&c.GC.ImageDelay, "3m"}, {&c.GC.Dangling.Period, "5m"}, {&c.GC.Dangling.CreationGrace, "5m"},
		{&c.ImagePullTimeout, "5m"}, {&c.InfraPullTimeout, "5m"}, {&c.PullActivity, "2m"}, {&c.NvidiaRuntime, "nvidia"},
	} {
		if *s.field == "" {
			*s.field = s.fallback
		}
	}
	if c.GC.ImageDiskLimit == 0 {
		c.GC.ImageDiskLimit = 90
	}
	if c.ExistsAttempts <= 0 {
		c.ExistsAttempts = 5
	}
	if c.MaxParallelStarts <= 0 {
		c.MaxParallelStarts = 4 * runtime.NumCPU()
	}
	if c.AllowCaps == nil {
		c.AllowCaps = caps.Defaults
	}
	if c.AllowRuntimes == nil {
		c.AllowRuntimes = []string{"runc", "nvidia"}
	}
	yes := func(b *bool) bool { return b == nil || *b }
	c.removeImages, c.removeContainers = yes(c.GC.Image), yes(c.GC.Container)
	c.reapDangling, c.reapDry = yes(c.GC.Dangling.Enabled), c.GC.Dangling.DryRun
}

// matchesAny reports whether a value fits one of the patterns.
func matchesAny(patterns []string, value string) bool {
	for _, p := range patterns {
		if ok, _ := path.Match(p, value); ok || p == "*" {
			return true
		}
	}
	return false
}

// pinned reports whether an image of a name is never removed.
func (c *pluginConfig) pinned(name string) bool { return matchesAny(c.GC.ImagePins, name) }

// deviceAllowed reports whether a host device may be given to tasks. A path
// that only looks like an allowed one is not.
func (c *pluginConfig) deviceAllowed(host string) bool {
	if c.AllowPrivileged {
		return true
	}
	clean := filepath.Clean(host)
	return clean == strings.TrimSuffix(host, "/") && matchesAny(c.AllowDevices, clean)
}
