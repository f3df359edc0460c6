package device

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/nomadlite/nomadlite/plugins/base"
	"github.com/nomadlite/nomadlite/plugins/proto/devicepb"
	"github.com/nomadlite/nomadlite/plugins/proto/sharedpb"
)

// maxDepth bounds the tree of a device's figures.
const maxDepth = 16

func groupsToProto(groups []*Group) *devicepb.FingerprintResponse {
	out := &devicepb.FingerprintResponse{}
	for _, g := range groups {
		p := &devicepb.DeviceGroup{Vendor: g.Vendor, DeviceType: g.Type, DeviceName: g.Name, Attributes: map[string]*sharedpb.Attribute{}}
		for _, d := range g.Devices {
			detected := &devicepb.DetectedDevice{ID: d.ID, Healthy: d.Healthy, HealthDescription: d.HealthDescription}
			if d.PCIBusID != "" {
				detected.HwLocality = &devicepb.DeviceLocality{PciBusId: d.PCIBusID}
			}
			p.Devices = append(p.Devices, detected)
		}
		for name, a := range g.Attributes {
			p.Attributes[name] = base.AttributeToProto(a)
		}
		out.DeviceGroup = append(out.DeviceGroup, p)
	}
	return out
}

func groupsFromProto(p *devicepb.FingerprintResponse) (out []*Group) {
	for _, pg := range p.GetDeviceGroup() {
		g := &Group{Vendor: pg.GetVendor(), Type: pg.GetDeviceType(), Name: pg.GetDeviceName(), Attributes: map[string]base.Attribute{}}
		for _, d := range pg.GetDevices() {
			g.Devices = append(g.Devices, &Detected{
				ID: d.GetID(), Healthy: d.GetHealthy(), HealthDescription: d.GetHealthDescription(), PCIBusID: d.GetHwLocality().GetPciBusId(),
			})
		}
		for name, a := range pg.GetAttributes() {
			g.Attributes[name] = base.AttributeFromProto(a)
		}
		out = append(out, g)
	}
	return out
}

func reservationToProto(r *Reservation) *devicepb.ContainerReservation {
	if r == nil {
		return nil
	}
	out := &devicepb.ContainerReservation{Envs: r.Envs}
	for _, m := range r.Mounts {
		out.Mounts = append(out.Mounts, &devicepb.Mount{TaskPath: m.TaskPath, HostPath: m.HostPath, ReadOnly: m.ReadOnly})
	}
	for _, d := range r.Devices {
		out.Devices = append(out.Devices, &devicepb.DeviceSpec{TaskPath: d.TaskPath, HostPath: d.HostPath, Permissions: d.Permissions})
	}
	return out
}

func reservationFromProto(p *devicepb.ContainerReservation) *Reservation {
	out := &Reservation{Envs: p.GetEnvs()}
	for _, m := range p.GetMounts() {
		out.Mounts = append(out.Mounts, &Mount{m.GetTaskPath(), m.GetHostPath(), m.GetReadOnly()})
	}
	for _, d := range p.GetDevices() {
		out.Devices = append(out.Devices, &Spec{d.GetTaskPath(), d.GetHostPath(), d.GetPermissions()})
	}
	return out
}

func statsToProto(groups []*GroupStats) *devicepb.StatsResponse {
	out := &devicepb.StatsResponse{}
	for _, g := range groups {
		p := &devicepb.DeviceGroupStats{Vendor: g.Vendor, Type: g.Type, Name: g.Name, InstanceStats: map[string]*devicepb.DeviceStats{}}
		for id, s := range g.Instances {
			p.InstanceStats[id] = &devicepb.DeviceStats{Summary: valueToProto(s.Summary), Stats: objectToProto(s.Stats, maxDepth), Timestamp: timestamppb.New(s.Time)}
		}
		out.Groups = append(out.Groups, p)
	}
	return out
}

func statsFromProto(p *devicepb.StatsResponse) (out []*GroupStats) {
	for _, pg := range p.GetGroups() {
		g := &GroupStats{Vendor: pg.GetVendor(), Type: pg.GetType(), Name: pg.GetName(), Instances: map[string]*Stats{}}
		for id, s := range pg.GetInstanceStats() {
			var at time.Time
			if s.GetTimestamp().IsValid() {
				at = s.GetTimestamp().AsTime()
			}
			g.Instances[id] = &Stats{Summary: valueFromProto(s.GetSummary()), Stats: objectFromProto(s.GetStats(), maxDepth), Time: at}
		}
		out = append(out, g)
	}
	return out
}

// objectToProto cuts what is nested deeper than depth.
func objectToProto(o *StatObject, depth int) *sharedpb.StatObject {
	if o == nil || depth == 0 {
		return nil
	}
	out := &sharedpb.StatObject{Nested: map[string]*sharedpb.StatObject{}, Attributes: map[string]*sharedpb.StatValue{}}
	for name, nested := range o.Nested {
		out.Nested[name] = objectToProto(nested, depth-1)
	}
	for name, v := range o.Attributes {
		out.Attributes[name] = valueToProto(v)
	}
	return out
}

// objectFromProto cuts what is nested deeper than depth.
func objectFromProto(p *sharedpb.StatObject, depth int) *StatObject {
	if p == nil || depth == 0 {
		return nil
	}
	out := &StatObject{Nested: map[string]*StatObject{}, Attributes: map[string]*StatValue{}}
	for name, nested := range p.GetNested() {
		out.Nested[name] = objectFromProto(nested, depth-1)
	}
	for name, v := range p.GetAttributes() {
		out.Attributes[name] = valueFromProto(v)
	}
	return out
}

func valueToProto(v *StatValue) *sharedpb.StatValue {
	if v == nil {
		return nil
	}
	out := &sharedpb.StatValue{Unit: v.Unit, Desc: v.Desc}
	if v.FloatNumeratorVal != nil {
		out.FloatNumeratorVal = wrapperspb.Double(*v.FloatNumeratorVal)
	}
	if v.FloatDenominatorVal != nil {
		out.FloatDenominatorVal = wrapperspb.Double(*v.FloatDenominatorVal)
	}
	if v.IntNumeratorVal != nil {
		out.IntNumeratorVal = wrapperspb.Int64(*v.IntNumeratorVal)
	}
	if v.IntDenominatorVal != nil {
		out.IntDenominatorVal = wrapperspb.Int64(*v.IntDenominatorVal)
	}
	if v.StringVal != nil {
		out.StringVal = wrapperspb.String(*v.StringVal)
	}
	if v.BoolVal != nil {
		out.BoolVal = wrapperspb.Bool(*v.BoolVal)
	}
	return out
}

func valueFromProto(p *sharedpb.StatValue) *StatValue {
	if p == nil {
		return nil
	}
	out := &StatValue{Unit: p.GetUnit(), Desc: p.GetDesc()}
	if w := p.GetFloatNumeratorVal(); w != nil {
		out.FloatNumeratorVal = &w.Value
	}
	if w := p.GetFloatDenominatorVal(); w != nil {
		out.FloatDenominatorVal = &w.Value
	}
	if w := p.GetIntNumeratorVal(); w != nil {
		out.IntNumeratorVal = &w.Value
	}
	if w := p.GetIntDenominatorVal(); w != nil {
		out.IntDenominatorVal = &w.Value
	}
	if w := p.GetStringVal(); w != nil {
		out.StringVal = &w.Value
	}
	if w := p.GetBoolVal(); w != nil {
		out.BoolVal = &w.Value
	}
	return out
}
