package foreign

import (
	"fmt"
	"reflect"
	"time"

	"github.com/hashicorp/nomad/api"
)

func ptr[T any](v T) *T { return &v }

// seedJob is a valid job that no node can run, so that nothing is started.
func seedJob(n int) *api.Job {
	task := api.NewTask("t", "raw_exec").SetConfig("command", "/bin/true")
	group := api.NewTaskGroup("g", 1).AddTask(task)
	job := api.NewServiceJob(fmt.Sprintf("field-%d", n), "name", "global", 50).AddDatacenter("nowhere").AddTaskGroup(group)
	job.Region = nil
	return job
}

// seeds are what a struct needs to be valid while one field of it is tried.
var seeds = map[reflect.Type]any{
	reflect.TypeFor[api.Constraint]():          api.Constraint{LTarget: "${attr.a}", RTarget: "b", Operand: "="},
	reflect.TypeFor[api.Affinity]():            api.Affinity{LTarget: "${attr.a}", RTarget: "b", Operand: "="},
	reflect.TypeFor[api.Spread]():              api.Spread{Attribute: "${attr.a}"},
	reflect.TypeFor[api.SpreadTarget]():        api.SpreadTarget{Value: "x"},
	reflect.TypeFor[api.PeriodicConfig]():      api.PeriodicConfig{Specs: []string{"@daily"}},
	reflect.TypeFor[api.ScalingPolicy]():       api.ScalingPolicy{Max: ptr(int64(100))},
	reflect.TypeFor[api.Service]():             api.Service{Provider: "nomad", PortLabel: "8080"},
	reflect.TypeFor[api.ServiceCheck]():        api.ServiceCheck{Type: "http", Path: "/", Interval: 9 * time.Second, Timeout: 8 * time.Second},
	reflect.TypeFor[api.WorkloadIdentity]():    api.WorkloadIdentity{Audience: []string{"a"}},
	reflect.TypeFor[api.Port]():                api.Port{Label: "p"},
	reflect.TypeFor[api.Template]():            api.Template{EmbeddedTmpl: ptr("x"), DestPath: ptr("local/x")},
	reflect.TypeFor[api.ChangeScript]():        api.ChangeScript{Command: ptr("/bin/true")},
	reflect.TypeFor[api.TaskArtifact]():        api.TaskArtifact{GetterSource: ptr("http://127.0.0.1/x")},
	reflect.TypeFor[api.TaskLifecycle]():       api.TaskLifecycle{Hook: "poststart"},
	reflect.TypeFor[api.VolumeRequest]():       api.VolumeRequest{Type: "host", Source: "s"},
	reflect.TypeFor[api.CSIMountOptions]():     api.CSIMountOptions{FSType: "ext4"},
	reflect.TypeFor[api.VolumeMount]():         api.VolumeMount{Volume: ptr("k"), Destination: ptr("/x")},
	reflect.TypeFor[api.RequestedDevice]():     api.RequestedDevice{Name: "gpu"},
	reflect.TypeFor[api.Secret]():              api.Secret{Name: "s", Provider: "nomad", Path: "p"},
	reflect.TypeFor[api.Action]():              api.Action{Name: "a", Command: "c"},
	reflect.TypeFor[api.TaskCSIPluginConfig](): api.TaskCSIPluginConfig{ID: "p", Type: api.CSIPluginTypeNode},
	reflect.TypeFor[api.MultiregionRegion]():   api.MultiregionRegion{Name: "r"},
	reflect.TypeFor[api.JobVersionTag]():       api.JobVersionTag{Name: "tag"},
}

// values are for fields that take not just any, by path or by type and field.
var values = map[string]any{
	"Region": "global", "Namespace": "default", "Type": "sysbatch", "NodePool": "all",
	"Constraint.Operand": "regexp", "Affinity.Operand": "regexp", "Constraint.LTarget": "${meta.x}", "Affinity.LTarget": "${meta.x}",
	"Spread.Attribute":    "${meta.x}",
	"TaskLifecycle.Hook":  "poststop",
	"Service.PortLabel":   "8081",
	"Service.AddressMode": "host", "Service.TaskName": "t", "Service.Provider": "nomad", "Service.Kind": "api-gateway",
	"Service.OnUpdate": "ignore", "ServiceCheck.OnUpdate": "ignore",
	"ServiceCheck.Type": "tcp", "ServiceCheck.Protocol": "https", "ServiceCheck.AddressMode": "host", "ServiceCheck.InitialStatus": "passing",
	"ServiceCheck.Method": "PUT", "ServiceCheck.TaskName": "t",
	"NetworkResource.Mode":          "none",
	"UpdateStrategy.MinHealthyTime": 11 * time.Second, "UpdateStrategy.HealthyDeadline": 6 * time.Minute, "UpdateStrategy.ProgressDeadline": 11 * time.Minute,
	"MigrateStrategy.MinHealthyTime": 11 * time.Second, "MigrateStrategy.HealthyDeadline": 6 * time.Minute,
	"Resources.MemoryMaxMB": 512, "LogConfig.MaxFiles": 3, "LogConfig.MaxFileSizeMB": 5, "EphemeralDisk.SizeMB": 301,
	"UpdateStrategy.HealthCheck": "manual", "MigrateStrategy.HealthCheck": "task_states",
	"RestartPolicy.Mode": "delay", "ReschedulePolicy.DelayFunction": "fibonacci",
	"DisconnectStrategy.Reconcile": "keep_original",
	"Template.ChangeMode":          "noop", "Template.ChangeSignal": "SIGUSR1", "Template.Perms": "0600",
	"Vault.ChangeMode": "noop", "Vault.ChangeSignal": "SIGUSR1",
	"WorkloadIdentity.ChangeMode": "restart", "WorkloadIdentity.ChangeSignal": "SIGUSR1",
	"TaskArtifact.GetterMode": "file", "VolumeRequest.Type": "csi", "VolumeRequest.AccessMode": "single-node-writer", "VolumeRequest.AttachmentMode": "file-system",
	"VolumeMount.PropagationMode": "bidirectional", "VolumeMount.SELinuxLabel": "z", "VolumeMount.Volume": "k",
	"Task.KillSignal": "SIGUSR1", "TaskCSIPluginConfig.Type": api.CSIPluginTypeController,
	"ParameterizedJobConfig.Payload": "required",
	"PeriodicConfig.Spec":            "@hourly", "PeriodicConfig.Specs": []string{"@weekly"}, "PeriodicConfig.TimeZone": "Europe/Berlin", "PeriodicConfig.Enabled": false,
	"NUMAResource.Affinity": "prefer", "NUMAResource.Devices": []string{"gpu"},
	"ScalingPolicy.Type": "horizontal", "ScalingPolicy.Min": int64(1),
	"Vault.Env": false, "ScalingPolicy.Enabled": false, "DisconnectStrategy.Replace": false,
}

// companions make a field's surroundings fit.
var companions = []struct {
	prefix string
	add    func(*api.Job)
}{
	{"Periodic", batch}, {"ParameterizedJob", batch}, {"TaskGroups.MaxRunDuration", batch},
	{"Periodic.Spec", func(j *api.Job) { j.Periodic = &api.PeriodicConfig{} }},
	{"Periodic.Specs", func(j *api.Job) { j.Periodic = &api.PeriodicConfig{} }},
	{"TaskGroups.Tasks.Lifecycle", func(j *api.Job) {
		j.TaskGroups[0].AddTask(api.NewTask("main", "raw_exec").SetConfig("command", "/bin/true"))
	}},
	{"TaskGroups.Tasks.Resources.NUMA", func(j *api.Job) {
		j.TaskGroups[0].Tasks[0].Resources = &api.Resources{Cores: ptr(1), Devices: []*api.RequestedDevice{{Name: "gpu"}}}
	}},
	{"TaskGroups.Tasks.Identity.ChangeSignal", func(j *api.Job) {
		j.TaskGroups[0].Tasks[0].Identity = &api.WorkloadIdentity{ChangeMode: "signal"}
	}},
	{"TaskGroups.Tasks.Identity.Filepath", func(j *api.Job) { j.TaskGroups[0].Tasks[0].Identity = &api.WorkloadIdentity{File: true} }},
	{"TaskGroups.Tasks.Identities", func(j *api.Job) {
		j.TaskGroups[0].Tasks[0].Identities = []*api.WorkloadIdentity{{Name: "other", Audience: []string{"a"}}}
	}},
	{"TaskGroups.Tasks.Identities.ChangeSignal", func(j *api.Job) { j.TaskGroups[0].Tasks[0].Identities[0].ChangeMode = "signal" }},
	{"TaskGroups.Tasks.Identities.Filepath", func(j *api.Job) { j.TaskGroups[0].Tasks[0].Identities[0].File = true }},
	{"TaskGroups.Services.Checks", consul}, {"TaskGroups.Tasks.Services.Checks", consul},
	{"TaskGroups.Services.Kind", consul}, {"TaskGroups.Services.Cluster", consul},
	{"TaskGroups.ReschedulePolicy", func(j *api.Job) {
		j.TaskGroups[0].ReschedulePolicy = &api.ReschedulePolicy{Interval: ptr(24 * time.Hour), Unlimited: ptr(false)}
	}},
	{"Reschedule", func(j *api.Job) {
		j.Reschedule = &api.ReschedulePolicy{Interval: ptr(24 * time.Hour), Unlimited: ptr(false)}
	}},
	{"TaskGroups.Update.AutoPromote", func(j *api.Job) { j.TaskGroups[0].Update = &api.UpdateStrategy{Canary: ptr(1)} }},
	{"Update.AutoPromote", func(j *api.Job) { j.Update = &api.UpdateStrategy{Canary: ptr(1)} }},
	{"Type", func(j *api.Job) { j.Type = ptr("batch") }},
}

// consul puts a service of the other provider, which knows more fields, where
// fields of checks are tried.
func consul(j *api.Job) {
	s := api.Service{Provider: "consul", PortLabel: "8080", Identity: nil}
	j.TaskGroups[0].Services = []*api.Service{&s}
	own := s
	j.TaskGroups[0].Tasks[0].Services = []*api.Service{&own}
}

func batch(j *api.Job) { j.Type = ptr("batch") }

// exceptions are fields that do not come back unchanged, by path or by what
// they are inside of: the words of the refusal or, when the job is accepted,
// the reason.
var exceptions = map[string]string{
	"Multiregion":                             "Multiregion jobs are unlicensed",
	"TaskGroups.Volumes.Type":                 "csi volumes are not supported by this build",
	"TaskGroups.Volumes.MountOptions":         "host volumes cannot have mount options",
	"TaskGroups.Tasks.VolumeMounts":           "references undefined volume",
	"TaskGroups.Tasks.Services.Connect":       "connect is not supported by this build",
	"TaskGroups.Services.Connect":             "connect is not supported by this build",
	"TaskGroups.Services.Checks.Expose":       "expose needs a sidecar_service",
	"TaskGroups.Tasks.Services.Checks.Expose": "expose needs a sidecar_service",
	"TaskGroups.Tasks.Templates":              "template is not supported by this build",
	"TaskGroups.Tasks.Vault":                  "vault is not supported by this build",
	"TaskGroups.Tasks.CSIPluginConfig":        "csi_plugin is not supported by this build",
	"TaskGroups.Tasks.Secrets":                "secret is not supported by this build",
	"TaskGroups.Tasks.Schedule":               "task schedules requires Nomad Enterprise",
	"TaskGroups.Tasks.Identity.Name":          "the default identity has this name",
	"TaskGroups.Tasks.Identity.Audience":      "the default identity has this audience",
	"TaskGroups.Tasks.Identity.TTL":           "ttl for default identity not yet supported",
	"TaskGroups.Tasks.Resources.DiskMB":       "Task can't ask for disk resources",
	"TaskGroups.Scaling.Target":               "the servers set it",
	"Update.HealthCheck":                      "the groups have it; of the job's own block stagger and max_parallel are stored",
	"Update.MinHealthyTime":                   "as Update.HealthCheck",
	"Update.HealthyDeadline":                  "as Update.HealthCheck",
	"Update.ProgressDeadline":                 "as Update.HealthCheck",
	"Update.Canary":                           "as Update.HealthCheck",
	"Update.AutoRevert":                       "as Update.HealthCheck",
	"Update.AutoPromote":                      "as Update.HealthCheck",
	"Periodic.SpecType":                       "Unknown periodic specification type",
	"Dispatched":                              "can't be submitted with 'Dispatched' set",
	"Payload":                                 "Job can't be submitted with a payload",
	"Status":                                  "the servers set it",
	"StatusDescription":                       "the servers set it",
	"Stable":                                  "the servers set it",
	"Version":                                 "the servers set it",
	"SubmitTime":                              "the servers set it",
	"CreateIndex":                             "the servers set it",
	"ModifyIndex":                             "the servers set it",
	"JobModifyIndex":                          "the servers set it",
	"VersionTag":                              "job tag sets it",
	"TaskGroups.Tasks.ScalingPolicies":        "is not valid on a task",
}
