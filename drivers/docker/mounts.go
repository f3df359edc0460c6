package docker

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/mount"

	"github.com/nomadlite/nomadlite/client/rootfs"
	"github.com/nomadlite/nomadlite/plugins/driver"
)

// errVolumes is the refusal of what needs volumes.enabled; the text is the
// contract's.
var errVolumes = errors.New("volumes are not enabled; cannot mount host paths")

// mounter collects what is mounted into one container.
type mounter struct {
	cfg  *driver.TaskConfig
	site *pluginConfig
	dir  *rootfs.Dir // the allocation's
	base string      // its real path

	binds  []string // in the engine's own text form: for options of volumes
	mounts []mount.Mount
}

// collect resolves everything that a task mounts.
func (m *mounter) collect(tc *taskConfig) error {
	m.builtIn()
	if tc.VolumeDriver != "" && !m.site.Volumes.Enabled {
		return fmt.Errorf("volume_driver %q: %w", tc.VolumeDriver, errVolumes)
	}
	for _, v := range tc.Volumes {
		if err := m.volume(v, tc.VolumeDriver != ""); err != nil {
			return err
		}
	}
	for _, c := range slices.Concat(tc.Mounts, tc.Mount) {
		if err := m.mount(&c); err != nil {
			return err
		}
	}
	for _, hm := range m.cfg.Mounts { // of the agent: volumes and devices
		m.bind(hm.HostPath, hm.TaskPath, hm.Readonly, hm.PropagationMode)
	}
	return nil
}

// builtIn mounts the allocation's directories where the environment says that
// they are. Logs are read-only: what collects them must not be led astray.
func (m *mounter) builtIn() {
	at := func(key, fallback string) string {
		if v := m.cfg.Env[key]; strings.HasPrefix(v, "/") {
			return v
		}
		return fallback
	}
	shared, task := filepath.Join(m.cfg.AllocDir, rootfs.SharedName), filepath.Join(m.cfg.AllocDir, m.cfg.Name)
	inside := at("NOMAD_ALLOC_DIR", "/alloc")
	m.bind(shared, inside, false, "")
	m.bind(filepath.Join(shared, rootfs.LogsName), path.Join(inside, rootfs.LogsName), true, "")
	m.bind(filepath.Join(task, "local"), at("NOMAD_TASK_DIR", "/local"), false, "")
	m.bind(filepath.Join(task, "secrets"), at("NOMAD_SECRETS_DIR", "/secrets"), false, "")
}

// bind adds a bind mount. A label for SELinux exists in the text form alone.
func (m *mounter) bind(host, target string, readonly bool, propagation string) {
	if label := m.site.Volumes.SELinuxLabel; label != "" && !strings.ContainsRune(host+target, ':') {
		options := []string{strings.TrimPrefix(label, ":")}
		if readonly {
			options = append(options, "ro")
		}
		if propagation != "" {
			options = append(options, propagation)
		}
		m.binds = append(m.binds, host+":"+target+":"+strings.Join(options, ","))
		return
	}
	mt := mount.Mount{Type: mount.TypeBind, Source: host, Target: target, ReadOnly: readonly}
	if p := propagationOf(propagation); p != "" {
		mt.BindOptions = &mount.BindOptions{Propagation: p}
	}
	m.mounts = append(m.mounts, mt)
}

// propagationOf translates the words of job files for volumes.
func propagationOf(mode string) mount.Propagation {
	switch mode {
	case "", "private":
		return ""
	case "host-to-task":
		return mount.PropagationRSlave
	case "bidirectional":
		return mount.PropagationRShared
	}
	return mount.Propagation(mode)
}

// volume reads "source:target[:options]".
func (m *mounter) volume(text string, named bool) error {
	parts := strings.Split(text, ":")
	if len(parts) < 2 || len(parts) > 3 || parts[0] == "" {
		return fmt.Errorf("invalid docker volume %q: the form is source:target or source:target:options", text)
	}
	source, target := parts[0], parts[1]
	if !strings.HasPrefix(target, "/") {
		return fmt.Errorf("invalid docker volume %q: the target must be an absolute path", text)
	}
	options := ""
	if len(parts) == 3 {
		options = parts[2]
	}
	if !named {
		var err error
		if source, err = m.resolve(source, true); err != nil {
			return fmt.Errorf("volume %q: %w", text, err)
		}
		if strings.ContainsRune(source, ':') {
			m.bind(source, target, slices.Contains(strings.Split(options, ","), "ro"), "")
			return nil
		}
	}
	if label := m.site.Volumes.SELinuxLabel; label != "" && options == "" {
		options = strings.TrimPrefix(label, ":")
	}
	bind := source + ":" + target
	if options != "" {
		bind += ":" + options
	}
	m.binds = append(m.binds, bind)
	return nil
}

// mount reads a mount block.
func (m *mounter) mount(c *mountConfig) error {
	out := mount.Mount{Type: mount.Type(c.Type), Source: c.Source, Target: c.Target, ReadOnly: c.Readonly}
	if !strings.HasPrefix(c.Target, "/") {
		return fmt.Errorf("invalid mount: target %q must be an absolute path", c.Target)
	}
	switch out.Type {
	case mount.TypeBind:
		source, err := m.resolve(c.Source, false)
		if err != nil {
			return fmt.Errorf("mount of %q: %w", c.Source, err)
		}
		out.Source = source
		if c.Bind != nil && c.Bind.Propagation != "" {
			out.BindOptions = &mount.BindOptions{Propagation: mount.Propagation(c.Bind.Propagation)}
		}
	case mount.TypeTmpfs:
		if c.Source != "" {
			return fmt.Errorf("invalid mount: a tmpfs has no source, %q was given", c.Source)
		}
		if o := c.Tmpfs; o != nil {
			out.TmpfsOptions = &mount.TmpfsOptions{SizeBytes: o.SizeBytes, Mode: fileMode(o.Mode)}
		}
	case mount.TypeVolume, "":
		out.Type = mount.TypeVolume
		if !m.site.Volumes.Enabled {
			return fmt.Errorf("mount of %q: %w", c.Source, errVolumes)
		}
		out.VolumeOptions = c.Volume.options()
	default:
		return fmt.Errorf("invalid mount type %q: it is volume, bind or tmpfs", c.Type)
	}
	m.mounts = append(m.mounts, out)
	return nil
}

func (o *volumeOptions) options() *mount.VolumeOptions {
	if o == nil {
		return nil
	}
	out := &mount.VolumeOptions{NoCopy: o.NoCopy, Labels: merge(o.Labels)}
	if d := o.Driver; d != nil {
		out.DriverConfig = &mount.Driver{Name: d.Name, Options: merge(d.Options)}
	}
	return out
}

// resolve finds the host path of a source. What lies in the allocation's
// directory is resolved through rootfs, so that no link leads out of it, and
// is open to every task; the rest of the host needs volumes.enabled. Secrets
// of other tasks are never shown.
func (m *mounter) resolve(source string, create bool) (string, error) {
	if source == "" || strings.ContainsRune(source, 0) {
		return "", errors.New("the source is empty")
	}
	abs := filepath.Clean(source)
	if !filepath.IsAbs(abs) {
		abs = filepath.Join(m.cfg.AllocDir, m.cfg.Name, source)
	}
	rel, err := filepath.Rel(m.cfg.AllocDir, abs)
	if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
		if !m.site.Volumes.Enabled {
			return "", errVolumes
		}
		return abs, nil
	}
	real, err := m.dir.RealDir(rel, create)
	if errors.Is(err, rootfs.ErrEscapes) {
		if !m.site.Volumes.Enabled {
			return "", fmt.Errorf("%w: %s leads out of the allocation's directory", errVolumes, source)
		}
		return abs, nil
	}
	if err != nil {
		return "", err
	}
	inside, err := filepath.Rel(m.base, real)
	if err != nil || strings.HasPrefix(inside, "..") {
		return "", rootfs.ErrEscapes
	}
	parts := strings.Split(inside, "/")
	switch {
	case inside == ".":
		return "", errors.New("the allocation's whole directory holds the secrets of other tasks")
	case parts[0] == rootfs.SharedName || parts[0] == m.cfg.Name && !(len(parts) > 1 && parts[1] == "private") && len(parts) > 1:
		return real, nil
	}
	return "", errors.New("only the allocation's shared folder and the task's own folders can be mounted")
}
