package driver

import (
	"errors"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nomadlite/nomadlite/plugins/base"
	"github.com/nomadlite/nomadlite/plugins/proto/driverpb"
	"github.com/nomadlite/nomadlite/plugins/proto/sharedpb"
)

func handleToProto(h *TaskHandle) *driverpb.TaskHandle {
	if h == nil {
		return nil
	}
	return &driverpb.TaskHandle{
		Version:     h.Version,
		Config:      taskConfigToProto(h.Config),
		State:       driverpb.TaskState(h.State),
		DriverState: h.DriverState,
	}
}

func handleFromProto(p *driverpb.TaskHandle) *TaskHandle {
	if p == nil {
		return nil
	}
	return &TaskHandle{
		Version:     p.GetVersion(),
		Config:      taskConfigFromProto(p.GetConfig()),
		State:       taskStateFromProto(p.GetState()),
		DriverState: p.GetDriverState(),
	}
}

func taskStateFromProto(s driverpb.TaskState) TaskState {
	switch s {
	case driverpb.TaskState_RUNNING:
		return TaskRunning
	case driverpb.TaskState_EXITED:
		return TaskExited
	}
	return TaskUnknown
}

func overrideToProto(n *NetworkOverride) *driverpb.NetworkOverride {
	if n == nil {
		return nil
	}
	return &driverpb.NetworkOverride{PortMap: n.PortMap, Addr: n.Addr, AutoAdvertise: n.AutoAdvertise}
}

func overrideFromProto(p *driverpb.NetworkOverride) *NetworkOverride {
	if p == nil {
		return nil
	}
	return &NetworkOverride{PortMap: p.GetPortMap(), Addr: p.GetAddr(), AutoAdvertise: p.GetAutoAdvertise()}
}

func exitToProto(r *ExitResult) *driverpb.ExitResult {
	if r == nil {
		return nil
	}
	return &driverpb.ExitResult{ExitCode: r.ExitCode, Signal: r.Signal, OomKilled: r.OOMKilled}
}

func exitFromProto(p *driverpb.ExitResult) *ExitResult {
	if p == nil {
		return nil
	}
	return &ExitResult{ExitCode: p.GetExitCode(), Signal: p.GetSignal(), OOMKilled: p.GetOomKilled()}
}

func capabilitiesToProto(c *Capabilities) *driverpb.DriverCapabilities {
	return &driverpb.DriverCapabilities{
		SendSignals: c.SendSignals,
		Exec:        c.Exec,
		FsIsolation: driverpb.DriverCapabilities_FSIsolation(c.FSIsolation),
		NetworkIsolationModes: mapSlice(c.NetworkModes, func(m NetworkMode) driverpb.NetworkIsolationSpec_NetworkIsolationMode {
			return driverpb.NetworkIsolationSpec_NetworkIsolationMode(m)
		}),
		MustCreateNetwork:    c.MustCreateNetwork,
		MountConfigs:         driverpb.DriverCapabilities_MountConfigs(c.MountConfigs),
		DisableLogCollection: c.DisableLogCollection,
		DynamicWorkloadUsers: c.DynamicWorkloadUsers,
	}
}

func capabilitiesFromProto(p *driverpb.DriverCapabilities) *Capabilities {
	out := &Capabilities{
		SendSignals:          p.GetSendSignals(),
		Exec:                 p.GetExec(),
		NetworkModes:         mapSlice(p.GetNetworkIsolationModes(), networkModeFromProto),
		MustCreateNetwork:    p.GetMustCreateNetwork(),
		DisableLogCollection: p.GetDisableLogCollection(),
		DynamicWorkloadUsers: p.GetDynamicWorkloadUsers(),
	}
	if _, ok := driverpb.DriverCapabilities_FSIsolation_name[int32(p.GetFsIsolation())]; ok {
		out.FSIsolation = FSIsolation(p.GetFsIsolation())
	}
	if p.GetMountConfigs() == driverpb.DriverCapabilities_NO_MOUNTS {
		out.MountConfigs = MountConfigsNone
	}
	return out
}

func fingerprintToProto(f *Fingerprint) *driverpb.FingerprintResponse {
	out := &driverpb.FingerprintResponse{
		Health:            driverpb.FingerprintResponse_HealthState(f.Health),
		HealthDescription: f.HealthDescription,
	}
	if f.Err != nil {
		out.Err = f.Err.Error()
	}
	if len(f.Attributes) > 0 {
		out.Attributes = make(map[string]*sharedpb.Attribute, len(f.Attributes))
		for name, a := range f.Attributes {
			out.Attributes[name] = base.AttributeToProto(a)
		}
	}
	return out
}

func fingerprintFromProto(p *driverpb.FingerprintResponse) *Fingerprint {
	out := &Fingerprint{HealthDescription: p.GetHealthDescription()}
	switch p.GetHealth() {
	case driverpb.FingerprintResponse_HEALTHY:
		out.Health = HealthHealthy
	case driverpb.FingerprintResponse_UNHEALTHY:
		out.Health = HealthUnhealthy
	}
	if p.GetErr() != "" {
		out.Err = errors.New(p.GetErr())
	}
	if len(p.GetAttributes()) > 0 {
		out.Attributes = make(map[string]base.Attribute, len(p.GetAttributes()))
		for name, a := range p.GetAttributes() {
			out.Attributes[name] = base.AttributeFromProto(a)
		}
	}
	return out
}

func statusToProto(s *TaskStatus) *driverpb.InspectTaskResponse {
	return &driverpb.InspectTaskResponse{
		Task: &driverpb.TaskStatus{
			Id:          s.ID,
			Name:        s.Name,
			State:       driverpb.TaskState(s.State),
			StartedAt:   timeToProto(s.StartedAt),
			CompletedAt: timeToProto(s.CompletedAt),
			Result:      exitToProto(s.Result),
		},
		Driver:          &driverpb.TaskDriverStatus{Attributes: s.Attributes},
		NetworkOverride: overrideToProto(s.Network),
	}
}

func statusFromProto(p *driverpb.InspectTaskResponse) *TaskStatus {
	t := p.GetTask()
	return &TaskStatus{
		ID:          t.GetId(),
		Name:        t.GetName(),
		State:       taskStateFromProto(t.GetState()),
		StartedAt:   timeFromProto(t.GetStartedAt()),
		CompletedAt: timeFromProto(t.GetCompletedAt()),
		Result:      exitFromProto(t.GetResult()),
		Attributes:  p.GetDriver().GetAttributes(),
		Network:     overrideFromProto(p.GetNetworkOverride()),
	}
}

func eventToProto(e *TaskEvent) *driverpb.DriverTaskEvent {
	return &driverpb.DriverTaskEvent{
		TaskId:      e.TaskID,
		AllocId:     e.AllocID,
		TaskName:    e.TaskName,
		Timestamp:   timeToProto(e.Time),
		Message:     e.Message,
		Annotations: e.Annotations,
	}
}

func eventFromProto(p *driverpb.DriverTaskEvent) *TaskEvent {
	return &TaskEvent{
		TaskID:      p.GetTaskId(),
		AllocID:     p.GetAllocId(),
		TaskName:    p.GetTaskName(),
		Time:        timeFromProto(p.GetTimestamp()),
		Message:     p.GetMessage(),
		Annotations: p.GetAnnotations(),
	}
}

// timeToProto leaves the zero time out.
func timeToProto(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// timeFromProto reads a missing or impossible time as the zero time.
func timeFromProto(p *timestamppb.Timestamp) time.Time {
	if p.CheckValid() != nil {
		return time.Time{}
	}
	return p.AsTime()
}

// durationFromProto reads a missing duration as 0; AsDuration cuts what does
// not fit.
func durationFromProto(p *durationpb.Duration) time.Duration { return p.AsDuration() }
