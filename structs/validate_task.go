package structs

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"reflect"
	"strconv"
	"strings"
	"unicode"
)

var (
	secretName   = pattern(`^[a-zA-Z0-9_]{1,128}$`)
	identityName = pattern(`^[a-zA-Z0-9-_]{1,128}$`)
	actionName   = pattern(`^\S{1,128}$`)
)

// validate checks a canonicalized task of group g.
func (t *Task) validate(p *problems, j *Job, g *TaskGroup) {
	p.refuse(reflect.ValueOf(t).Elem())
	t.validateName(p)
	if t.Driver == "" {
		p.add("Missing task driver")
	}
	t.validateTimes(p, j, g)
	if t.KillSignal != "" && !KnownSignal(t.KillSignal) {
		p.add("kill_signal %q is not a known signal: use a name such as SIGTERM", t.KillSignal)
	}
	if l := t.Lifecycle; l != nil {
		if l.Hook == "" {
			p.add("no lifecycle hook provided")
		} else {
			p.oneOf("invalid lifecycle hook", l.Hook, LifecycleHookPrestart, LifecycleHookPoststart, LifecycleHookPoststop)
		}
	}
	t.Resources.validate(p, t.Name)
	t.LogConfig.validate(p, g.EphemeralDisk)
	validateConstraints(p, "Constraint", t.Constraints, placementTask)
	validateAffinities(p, t.Affinities)
	if j.Type == JobTypeSystem && len(t.Affinities) > 0 {
		p.add("System jobs may not have an affinity block")
	}
	t.RestartPolicy.validate(p)
	t.validateFiles(p)
	t.validateMounts(p, g)
	t.validateAccess(p)
	t.validateActions(p)
	for _, s := range t.ScalingPolicies {
		p.add("scaling policy type %q is not valid on a task: only %q on a group is supported", s.Type, ScalingTypeHorizontal)
	}
	if t.Schedule != nil {
		p.add("task schedules requires Nomad Enterprise: use a periodic job instead")
	}
	if len(t.Services) > 0 && t.ShutdownDelay == 0 && Val(g.ShutdownDelay) == 0 {
		p.warn("task %q in group %q defines services, but has no shutdown_delay set", t.Name, g.Name)
	}
}

// maxName bounds the names of groups and tasks, in bytes: with an allocation's
// id they are parts of file names, of which 255 bytes are possible.
const maxName = 200

func (t *Task) validateName(p *problems) {
	switch {
	case t.Name == "":
		p.add("Missing task name")
	case t.Name == "alloc":
		p.add("Task name %q is reserved for the shared directory", t.Name)
	case t.Name == "." || t.Name == "..":
		p.add("Task name %q is no name of a directory: the task's is named like it", t.Name)
	case strings.ContainsAny(t.Name, "/\\"):
		p.add("Task name %q cannot include slashes", t.Name)
	case strings.Contains(t.Name, "\000"):
		p.add("Task name %q cannot include null characters", t.Name)
	default:
		validateText(p, "Task name", t.Name)
	}
}

// validateText refuses names that are too long or that do not show what they
// are: control characters and those that turn the direction of a text.
func validateText(p *problems, what, name string) {
	switch {
	case len(name) > maxName:
		p.add("%s %.32q… has %d bytes: at most %d are possible", what, name, len(name), maxName)
	case strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		p.add("%s %q cannot include characters that do not print", what, name)
	}
}

func (t *Task) validateTimes(p *problems, j *Job, g *TaskGroup) {
	kill := Val(t.KillTimeout)
	p.notNegative("KillTimeout", kill)
	p.notNegative("ShutdownDelay", t.ShutdownDelay)
	if j.Type != JobTypeService || g.Update == nil {
		return
	}
	if deadline := Val(g.Update.ProgressDeadline); deadline > 0 && kill > deadline {
		p.add("KillTimeout (%v) longer than the group's ProgressDeadline (%v)", kill, deadline)
	}
}

func (r *Resources) validate(p *problems, task string) {
	cpu, cores, memory := Val(r.CPU), Val(r.Cores), Val(r.MemoryMB)
	switch {
	case cores < 0:
		p.add("minimum cores value is 0; got %d", cores)
	case cores > 0 && cpu > 0:
		p.add("Task can only ask for 'cpu' or 'cores' resource, not both.")
	case cores == 0 && cpu < 1:
		p.add("minimum CPU value is 1; got %d", cpu)
	}
	if memory < 10 {
		p.add("minimum MemoryMB value is 10; got %d", memory)
	}
	switch m := Val(r.MemoryMaxMB); {
	case m < -1:
		p.add("MemoryMaxMB value (%d) must be -1 (no limit), unset or at least MemoryMB", m)
	case m > 0 && m < memory:
		p.add("MemoryMaxMB value (%d) should be larger than MemoryMB value (%d)", m, memory)
	}
	if s := Val(r.SecretsMB); s < 0 || s > memory {
		p.add("SecretsMB value (%d) must be between 0 and MemoryMB (%d)", s, memory)
	}
	if Val(r.DiskMB) > 0 {
		p.add("Task can't ask for disk resources, they have to be specified at the task group level.")
	}
	if Val(r.IOPS) > 0 {
		p.warn("task %q: iops is deprecated and ignored: remove it from the resources block", task)
	}
	names := map[string]bool{}
	for i, d := range r.Devices {
		inner := p.child()
		d.validate(inner)
		names[d.Name] = true
		p.nest(fmt.Sprintf("device %d validation failed", i+1), inner)
	}
	if n := r.NUMA; n != nil {
		n.validate(p, cores, names)
	}
}

func (n *NUMAResource) validate(p *problems, cores int, devices map[string]bool) {
	p.oneOf("invalid numa affinity", n.Affinity, "none", "prefer", "require")
	if n.Affinity != "none" && cores == 0 {
		p.add("numa affinity %q requires cores to be set", n.Affinity)
	}
	for _, d := range n.Devices {
		if !devices[d] {
			p.add("numa device %q is not requested by a device block", d)
		}
	}
}

func (d *RequestedDevice) validate(p *problems) {
	if d.Name == "" {
		p.add("device name must be given as one of the following: type, vendor/type, or vendor/type/name")
	} else if strings.Count(d.Name, "/") > 2 {
		p.add("device name %q has too many parts: use type, vendor/type or vendor/type/name", d.Name)
	}
	validateConstraints(p, "Constraint", d.Constraints, placementDevice)
	validateAffinities(p, d.Affinities)
}

func (l *LogConfig) validate(p *problems, disk *EphemeralDisk) {
	files, size := Val(l.MaxFiles), Val(l.MaxFileSizeMB)
	if files < 1 {
		p.add("minimum number of files is 1; got %d", files)
	}
	if size < 1 {
		p.add("minimum file size is 1MB; got %d", size)
	}
	if Val(l.Disabled) || files < 1 || size < 1 || disk == nil {
		return
	}
	if have := Val(disk.SizeMB); files >= have/size+1 || files*size >= have {
		p.add("log storage (%d MB) must be less than requested disk capacity (%d MB)", files*size, have)
	}
}

func (t *Task) validateFiles(p *problems) {
	for i, a := range t.Artifacts {
		inner := p.child()
		a.validate(inner)
		p.nest(fmt.Sprintf("Artifact %d validation failed", i+1), inner)
	}
	destinations := map[string]int{}
	for i, tpl := range t.Templates {
		inner := p.child()
		tpl.validate(inner)
		p.nest(fmt.Sprintf("Template %d validation failed", i+1), inner)
		if first, dup := destinations[tpl.DestPath]; dup && tpl.DestPath != "" {
			p.add("Template %d has same destination as template %d: %q", i+1, first, tpl.DestPath)
		} else {
			destinations[tpl.DestPath] = i + 1
		}
	}
	if d := t.DispatchPayload; d != nil && escapes("task/local/", d.File, 1) {
		p.add("Dispatch Payload destination %q escapes the task's local directory", d.File)
	}
}

// escapes reports whether file, joined to base, leaves base's first segments.
func escapes(base, file string, keep int) bool {
	full := path.Join(base, file)
	root := strings.Join(strings.Split(base, "/")[:keep], "/")
	if keep == 0 {
		return full == ".." || strings.HasPrefix(full, "../")
	}
	return full != root && !strings.HasPrefix(full, root+"/")
}

func (a *TaskArtifact) validate(p *problems) {
	if a.GetterSource == "" {
		p.add("source must be specified")
	} else if err := checkSource(a.GetterSource); err != nil {
		p.add("source %.100q is not usable: %v", a.GetterSource, err)
	}
	p.oneOf("invalid artifact mode", a.GetterMode, "any", "file", "dir")
	if escapes("task/", a.RelativeDest, 0) {
		p.add("destination %q escapes allocation directory", a.RelativeDest)
	}
	if sum := a.GetterOptions["checksum"]; sum != "" {
		p.addErr(checkChecksum(sum))
	}
}

// maxSource is the longest source of an artifact, in bytes.
const maxSource = 8 << 10

var (
	forcedGetter = pattern(`^[A-Za-z0-9]+::`)
	scpAddress   = pattern(`^[A-Za-z0-9._-]+@[A-Za-z0-9.-]+:`)
)

// checkSource checks that the source of an artifact can be read as an address:
// a URL, a path, or user@host:path, each perhaps behind "getter::".
// Interpolated ones are checked by clients.
func checkSource(source string) error {
	if len(source) > maxSource {
		return fmt.Errorf("it has %d characters, at most %d are allowed", len(source), maxSource)
	}
	if i := strings.IndexFunc(source, unicode.IsControl); i >= 0 {
		return fmt.Errorf("it has a control character at %d", i)
	}
	address := forcedGetter().ReplaceAllString(source, "")
	if address == "" {
		return fmt.Errorf("nothing follows the getter %q", source)
	}
	if strings.Contains(address, "${") || scpAddress().MatchString(address) {
		return nil
	}
	_, err := url.Parse(address)
	var detail *url.Error
	if errors.As(err, &detail) {
		return detail.Err
	}
	return err
}

// checkChecksum checks "type:hex"; interpolated values are checked by clients.
func checkChecksum(sum string) error {
	if strings.Contains(sum, "${") {
		return nil
	}
	kind, value, found := strings.Cut(strings.TrimSpace(sum), ":")
	if !found {
		return fmt.Errorf("checksum %q must be given as \"type:value\"", sum)
	}
	bytes := map[string]int{"md5": 16, "sha1": 20, "sha256": 32, "sha512": 64}[kind]
	if bytes == 0 {
		return fmt.Errorf("checksum type %q is not supported: use md5, sha1, sha256 or sha512", kind)
	}
	if len(value) != 2*bytes || strings.Trim(value, "0123456789abcdefABCDEF") != "" {
		return fmt.Errorf("checksum %q is not %d hexadecimal digits", value, 2*bytes)
	}
	return nil
}

func (t *Template) validate(p *problems) {
	if t.SourcePath == "" && t.EmbeddedTmpl == "" {
		p.add("Must specify a source path or have an embedded template")
	}
	if t.DestPath == "" {
		p.add("Must specify a destination for the template")
	} else if escapes("task/", t.DestPath, 0) {
		p.add("template destination %q escapes allocation directory", t.DestPath)
	}
	t.validateChange(p)
	if t.Splay != nil {
		p.notNegative("splay", *t.Splay)
	}
	if _, err := strconv.ParseUint(t.Perms, 8, 12); err != nil {
		p.add("Failed to parse %q as octal permissions: use three or four digits from 0 to 7", t.Perms)
	}
	if w := t.Wait; w != nil {
		if w.Min != nil {
			p.notNegative("wait min", *w.Min)
		}
		if w.Max != nil && Val(w.Min) > *w.Max {
			p.add("wait min %v is greater than wait max %v", Val(w.Min), *w.Max)
		}
	}
}

func (t *Template) validateChange(p *problems) {
	p.oneOf("Invalid change mode", t.ChangeMode, "noop", "restart", "signal", "script")
	switch t.ChangeMode {
	case "signal":
		if !KnownSignal(t.ChangeSignal) {
			p.add("change_signal %q is not a known signal", t.ChangeSignal)
		}
		if t.Envvars {
			p.add("cannot use signals with env var templates")
		}
	case "script":
		if t.ChangeScript == nil {
			p.add("must specify change_script configuration when change mode is script")
		}
	}
	if s := t.ChangeScript; s != nil {
		if s.Command == "" {
			p.add("must specify script path value when change mode is script")
		}
		p.notNegative("change_script timeout", Val(s.Timeout))
	}
}

func (t *Task) validateMounts(p *problems, g *TaskGroup) {
	for i, m := range t.VolumeMounts {
		if g.Volumes[m.Volume] == nil {
			p.add("Volume Mount (%d) references undefined volume %s", i, m.Volume)
		}
		if m.Destination == "" {
			p.add("Volume Mount (%d) has no destination", i)
		}
		p.oneOf(fmt.Sprintf("Volume Mount (%d) has an invalid propagation mode:", i), m.PropagationMode, "private", "host-to-task", "bidirectional")
		p.oneOf(fmt.Sprintf("Volume Mount (%d) has an invalid selinux_label:", i), m.SELinuxLabel, "", "z", "Z")
	}
	c := t.CSIPluginConfig
	if c == nil {
		return
	}
	if c.ID == "" {
		p.add("CSIPluginConfig must have a non-empty PluginID")
	}
	p.oneOf("invalid CSIPluginConfig PluginType", c.Type, "node", "controller", "monolith")
	if c.StagePublishBaseDir == c.MountDir || strings.HasPrefix(c.StagePublishBaseDir, c.MountDir+"/") {
		p.add("CSIPluginConfig StagePublishBaseDir %q must not be a subdirectory of MountDir %q", c.StagePublishBaseDir, c.MountDir)
	}
}

func (t *Task) validateActions(p *problems) {
	seen := map[string]bool{}
	for _, a := range t.Actions {
		if !actionName().MatchString(a.Name) {
			p.add("Action name %q is invalid: use 1 to 128 characters without blanks", a.Name)
		}
		if seen[a.Name] {
			p.add("Action %s defined more than once", a.Name)
		}
		seen[a.Name] = true
		if a.Command == "" {
			p.add("Action %s has no command", a.Name)
		}
	}
}
