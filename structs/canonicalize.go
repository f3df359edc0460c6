package structs

import (
	"path"
	"strings"
	"time"
)

// Defaults that Canonicalize fills in; see reference jobspec 2 to 6.
const (
	DefaultKillTimeout     = 5 * time.Second
	DefaultCPU             = 100 // MHz
	DefaultMemoryMB        = 300
	DefaultDiskMB          = 300
	DefaultLogFiles        = 10
	DefaultLogFileSizeMB   = 10
	DefaultIdentityName    = "default"
	DefaultAudience        = "nomadproject.io"
	DefaultCluster         = "default"
	DefaultPeriodicZone    = "UTC"
	DefaultAffinityWeight  = 50
	DefaultSpreadWeight    = 50
	ServiceProviderConsul  = "consul"
	ServiceProviderNomad   = "nomad"
	ScalingTypeHorizontal  = "horizontal"
	ScalingTypeVerticalCPU = "vertical_cpu"
	ScalingTypeVerticalMem = "vertical_mem"
)

// Canonicalize fills in every default of the job specification by job type and
// spreads job and group settings onto groups and tasks, in place. It is
// idempotent and never fails: what it cannot make sense of is left for Validate.
//
// An empty NodePool becomes "default" and empty Datacenters become ["*"]: a
// caller that wants the namespace's default pool sets it first.
func (j *Job) Canonicalize() {
	setDefault(&j.Region, DefaultRegion)
	setDefault(&j.Namespace, DefaultNamespace)
	setDefault(&j.Name, j.ID)
	setDefault(&j.Type, JobTypeService)
	setDefault(&j.NodePool, NodePoolDefault)
	setDefault(&j.Priority, DefaultPriority)
	if len(j.Datacenters) == 0 {
		j.Datacenters = []string{"*"}
	}
	j.canonicalizeKinds()
	canonicalizePlacement(&j.Constraints, &j.Affinities, &j.Spreads)
	j.TaskGroups = withoutNil(j.TaskGroups)
	for _, g := range j.TaskGroups {
		g.canonicalize(j)
	}
	j.Update = j.canonicalUpdate()
}

func (j *Job) canonicalizeKinds() {
	if p := j.Periodic; p != nil {
		setPtr(&p.Enabled, true)
		setDefault(&p.SpecType, "cron")
		setDefault(&p.TimeZone, DefaultPeriodicZone)
	}
	if p := j.ParameterizedJob; p != nil {
		setDefault(&p.Payload, "optional")
	}
	if m := j.Multiregion; m != nil {
		if m.Strategy == nil {
			m.Strategy = &MultiregionStrategy{}
		}
		setPtr(&m.Strategy.MaxParallel, 0)
		m.Regions = withoutNil(m.Regions)
		for _, r := range m.Regions {
			setPtr(&r.Count, 1)
		}
	}
	if j.UI != nil {
		j.UI.Links = withoutNil(j.UI.Links)
	}
}

// canonicalUpdate is the job-level update as it is stored: once it has been
// spread onto the groups only stagger and max_parallel remain, the rest is
// zero. It is never nil, because clients do not expect null there.
func (j *Job) canonicalUpdate() *UpdateStrategy {
	u := &UpdateStrategy{}
	given := overlaid(&UpdateStrategy{Stagger: Ptr(DefaultStagger), MaxParallel: Ptr(1)}, j.Update)
	if j.rolls() && *given.MaxParallel > 0 {
		u.Stagger, u.MaxParallel = given.Stagger, given.MaxParallel
	}
	fillZero(u)
	return u
}

// rolls reports whether jobs of this type have deployments.
func (j *Job) rolls() bool { return j.Type == JobTypeService || j.Type == JobTypeSystem }

// Dispatchable reports whether the job waits for dispatches: it is parameterized,
// and no child of one that is.
func (j *Job) Dispatchable() bool { return j.ParameterizedJob != nil && !j.Dispatched }

// ScaledToZero reports whether a service wants no allocation for the time being:
// it is dead, and nevertheless not over.
func (j *Job) ScaledToZero() bool {
	if j.Type != JobTypeService || j.Stop {
		return false
	}
	for _, g := range j.TaskGroups {
		if Val(g.Count) > 0 {
			return false
		}
	}
	return true
}

// runsToCompletion reports whether tasks of this job type are meant to end.
func (j *Job) runsToCompletion() bool { return j.Type == JobTypeBatch || j.Type == JobTypeSysBatch }

func (g *TaskGroup) canonicalize(j *Job) {
	g.canonicalizeCount(j)
	if g.EphemeralDisk == nil {
		g.EphemeralDisk = &EphemeralDisk{}
	}
	setPtr(&g.EphemeralDisk.SizeMB, DefaultDiskMB)
	g.RestartPolicy = overlaid(defaultRestart(j), g.RestartPolicy)
	g.ReschedulePolicy = canonicalReschedule(j, g.ReschedulePolicy)
	g.Migrate = canonicalMigrate(j, g.Migrate)
	g.Update = canonicalGroupUpdate(j, g.Update)
	if d := g.Disconnect; d != nil {
		setPtr(&d.Replace, true)
		setPtr(&d.Reconcile, ReconcileBestScore)
	}
	if g.Consul != nil {
		setDefault(&g.Consul.Cluster, DefaultCluster)
		setDefault(&g.Consul.Namespace, j.ConsulNamespace)
	}
	for name, v := range g.Volumes {
		if v == nil {
			delete(g.Volumes, name)
			continue
		}
		setDefault(&v.Name, name)
	}
	canonicalizePlacement(&g.Constraints, &g.Affinities, &g.Spreads)
	g.Networks = withoutNil(g.Networks)
	g.Services = withoutNil(g.Services)
	g.Tasks = withoutNil(g.Tasks)
	for _, s := range g.Services {
		s.canonicalize(j, g, nil)
	}
	for _, t := range g.Tasks {
		t.canonicalize(j, g)
	}
}

func (g *TaskGroup) canonicalizeCount(j *Job) {
	if s := g.Scaling; s != nil {
		if g.Count == nil && s.Min != nil {
			g.Count = Ptr(int(*s.Min))
		}
		setPtr(&g.Count, 1)
		setPtr(&s.Min, int64(*g.Count))
		setPtr(&s.Enabled, true)
		setDefault(&s.Type, ScalingTypeHorizontal)
		setDefault(&s.Namespace, j.Namespace)
		s.Target = map[string]string{"Namespace": j.Namespace, "Job": j.ID, "Group": g.Name}
	}
	setPtr(&g.Count, 1)
}

func (t *Task) canonicalize(j *Job, g *TaskGroup) {
	setPtr(&t.KillTimeout, DefaultKillTimeout)
	if t.LogConfig == nil {
		t.LogConfig = &LogConfig{}
	}
	setPtr(&t.LogConfig.MaxFiles, DefaultLogFiles)
	setPtr(&t.LogConfig.MaxFileSizeMB, DefaultLogFileSizeMB)
	setPtr(&t.LogConfig.Disabled, false)
	t.RestartPolicy = overlaid(clone(g.RestartPolicy), t.RestartPolicy)
	if t.Resources == nil {
		t.Resources = &Resources{}
	}
	t.Resources.canonicalize()
	t.Artifacts = withoutNil(t.Artifacts)
	for _, a := range t.Artifacts {
		a.canonicalize()
	}
	t.Templates = withoutNil(t.Templates)
	for _, tpl := range t.Templates {
		tpl.canonicalize()
	}
	t.canonicalizeAccess()
	t.canonicalizeMounts()
	canonicalizePlacement(&t.Constraints, &t.Affinities, nil)
	t.ScalingPolicies = withoutNil(t.ScalingPolicies)
	for _, p := range t.ScalingPolicies {
		setPtr(&p.Enabled, true)
		setPtr(&p.Min, 0)
		setDefault(&p.Namespace, j.Namespace)
		p.Target = map[string]string{"Namespace": j.Namespace, "Job": j.ID, "Group": g.Name, "Task": t.Name}
	}
	t.Actions = withoutNil(t.Actions)
	if t.Schedule != nil && t.Schedule.Cron != nil {
		setDefault(&t.Schedule.Cron.Timezone, "Local")
	}
	t.Services = withoutNil(t.Services)
	for _, s := range t.Services {
		s.canonicalize(j, g, t)
	}
}

// canonicalizeAccess fills in identities, Vault and Consul.
func (t *Task) canonicalizeAccess() {
	t.Secrets = withoutNil(t.Secrets)
	t.Identities = withoutNil(t.Identities)
	if t.Identity == nil {
		for i, id := range t.Identities {
			if id.Name == "" || id.Name == DefaultIdentityName {
				t.Identity = id
				t.Identities = append(t.Identities[:i:i], t.Identities[i+1:]...)
				break
			}
		}
	}
	if len(t.Identities) == 0 {
		t.Identities = nil
	}
	if t.Identity == nil {
		t.Identity = &WorkloadIdentity{}
	}
	t.Identity.Name = DefaultIdentityName
	t.Identity.Audience = []string{DefaultAudience}
	t.Identity.ChangeSignal = strings.ToUpper(t.Identity.ChangeSignal)
	for _, id := range t.Identities {
		id.ChangeSignal = strings.ToUpper(id.ChangeSignal)
	}
	if v := t.Vault; v != nil {
		v.Canonicalize()
	}
	if t.Consul != nil {
		setDefault(&t.Consul.Cluster, DefaultCluster)
	}
}

func (t *Task) canonicalizeMounts() {
	t.VolumeMounts = withoutNil(t.VolumeMounts)
	for _, m := range t.VolumeMounts {
		setDefault(&m.PropagationMode, "private")
	}
	if c := t.CSIPluginConfig; c != nil {
		setDefault(&c.MountDir, "/csi")
		setDefault(&c.StagePublishBaseDir, "/local/csi")
		setDefault(&c.HealthTimeout, 30*time.Second)
	}
}

// Canonicalize fills in the defaults of a vault block; the job file decoder
// applies them at parse time as well.
func (v *Vault) Canonicalize() {
	setPtr(&v.Env, true)
	setPtr(&v.DisableFile, false)
	setDefault(&v.Cluster, DefaultCluster)
	setDefault(&v.ChangeMode, "restart")
	setDefault(&v.ChangeSignal, "SIGHUP")
	v.ChangeSignal = strings.ToUpper(v.ChangeSignal)
}

func (r *Resources) canonicalize() {
	setPtr(&r.Cores, 0)
	if *r.Cores > 0 {
		setPtr(&r.CPU, 0)
	}
	setPtr(&r.CPU, DefaultCPU)
	setPtr(&r.MemoryMB, DefaultMemoryMB)
	setPtr(&r.MemoryMaxMB, 0)
	setPtr(&r.DiskMB, 0)
	setPtr(&r.IOPS, 0)
	if r.NUMA != nil {
		setDefault(&r.NUMA.Affinity, "none")
	}
	r.Networks = withoutNil(r.Networks)
	r.Devices = withoutNil(r.Devices)
	for _, d := range r.Devices {
		setPtr(&d.Count, 1)
		canonicalizePlacement(&d.Constraints, &d.Affinities, nil)
	}
}

func (a *TaskArtifact) canonicalize() {
	setDefault(&a.GetterMode, "any")
	if a.RelativeDest != "" {
		return
	}
	a.RelativeDest = "local/"
	if a.GetterMode == "file" {
		source, _, _ := strings.Cut(a.GetterSource, "?")
		a.RelativeDest = path.Join("local", path.Base(source))
	}
}

func (t *Template) canonicalize() {
	setDefault(&t.ChangeMode, "restart")
	setDefault(&t.Perms, "0644")
	setDefault(&t.LeftDelim, "{{")
	setDefault(&t.RightDelim, "}}")
	setPtr(&t.Splay, 5*time.Second)
	if t.ChangeMode == "signal" {
		setDefault(&t.ChangeSignal, "SIGHUP")
	}
	t.ChangeSignal = strings.ToUpper(t.ChangeSignal)
	if s := t.ChangeScript; s != nil {
		setPtr(&s.Timeout, 5*time.Second)
	}
}

// DefaultProvider gives services that name no provider the given one; "" leaves
// them to Canonicalize.
func (j *Job) DefaultProvider(provider string) {
	for _, g := range j.TaskGroups {
		if g == nil {
			continue
		}
		for _, s := range g.AllServices() {
			setDefault(&s.Provider, provider)
		}
	}
}

// serviceNames expands the server-side names in a service's name.
func serviceNames(j *Job, g *TaskGroup, t *Task) *strings.Replacer {
	task, base := "", j.Name+"-"+g.Name
	if t != nil {
		task, base = t.Name, base+"-"+t.Name
	}
	return strings.NewReplacer("${JOB}", j.Name, "${TASKGROUP}", g.Name, "${TASK}", task, "${BASE}", base)
}

// canonicalize fills in a service of group g, or of task t when it is not nil.
func (s *Service) canonicalize(j *Job, g *TaskGroup, t *Task) {
	setDefault(&s.Name, "${BASE}")
	s.Name = serviceNames(j, g, t).Replace(s.Name)
	setDefault(&s.Provider, ServiceProviderConsul)
	setDefault(&s.AddressMode, "auto")
	setDefault(&s.OnUpdate, "require_healthy")
	if s.Provider == ServiceProviderConsul {
		setDefault(&s.Cluster, DefaultCluster)
	}
	if t != nil {
		setDefault(&s.TaskName, t.Name)
	}
	if c := s.CheckRestart; c != nil {
		setPtr(&c.Grace, time.Second)
	}
	if c := s.Connect; c != nil {
		c.canonicalize()
	}
	s.Checks = withoutNil(s.Checks)
	for _, c := range s.Checks {
		setDefault(&c.Name, "service: \""+s.Name+"\" check")
		setDefault(&c.OnUpdate, s.OnUpdate)
		c.CheckRestart = mergeCheckRestart(s.CheckRestart, c.CheckRestart)
	}
}

// mergeCheckRestart overlays a check's restart rule on its service's.
func mergeCheckRestart(service, check *CheckRestart) *CheckRestart {
	if check == nil {
		return clone(service)
	}
	if service != nil {
		setDefault(&check.Limit, service.Limit)
		setDefault(&check.IgnoreWarnings, service.IgnoreWarnings)
		if check.Grace == nil {
			check.Grace = clone(service.Grace)
		}
	}
	setPtr(&check.Grace, time.Second)
	return check
}

// canonicalizePlacement fills in the weights of placement rules; ss may be nil.
func canonicalizePlacement(cs *[]*Constraint, as *[]*Affinity, ss *[]*Spread) {
	*cs, *as = withoutNil(*cs), withoutNil(*as)
	for _, a := range *as {
		setPtr(&a.Weight, DefaultAffinityWeight)
	}
	if ss == nil {
		return
	}
	*ss = withoutNil(*ss)
	for _, s := range *ss {
		setPtr(&s.Weight, DefaultSpreadWeight)
		s.SpreadTarget = withoutNil(s.SpreadTarget)
	}
}

// setDefault stores value where the field still has its zero value.
func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// setPtr stores a pointer to value where the field is nil.
func setPtr[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}

// clone copies what p points to, one level deep.
func clone[T any](p *T) *T {
	if p == nil {
		return nil
	}
	c := *p
	return &c
}

// withoutNil drops nil elements, which JSON input may hold, in place.
func withoutNil[T any](list []*T) []*T {
	kept := list[:0]
	for _, e := range list {
		if e != nil {
			kept = append(kept, e)
		}
	}
	return kept
}
