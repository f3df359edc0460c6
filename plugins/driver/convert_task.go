package driver

import (
	"github.com/nomadlite/nomadlite/plugins/proto/driverpb"
)

func taskConfigToProto(c *TaskConfig) *driverpb.TaskConfig {
	if c == nil {
		return nil
	}
	return &driverpb.TaskConfig{
		Id:                   c.ID,
		Name:                 c.Name,
		MsgpackDriverConfig:  c.MsgpackConfig,
		Env:                  c.Env,
		DeviceEnv:            c.DeviceEnv,
		Resources:            resourcesToProto(c.Resources),
		Mounts:               mapSlice(c.Mounts, mountToProto),
		Devices:              mapSlice(c.Devices, deviceToProto),
		User:                 c.User,
		AllocDir:             c.AllocDir,
		StdoutPath:           c.StdoutPath,
		StderrPath:           c.StderrPath,
		TaskGroupName:        c.TaskGroupName,
		JobName:              c.JobName,
		AllocId:              c.AllocID,
		NetworkIsolationSpec: networkSpecToProto(c.NetworkIsolation),
		Dns:                  dnsToProto(c.DNS),
		JobId:                c.JobID,
		Namespace:            c.Namespace,
		NodeName:             c.NodeName,
		NodeId:               c.NodeID,
		ParentJobId:          c.ParentJobID,
	}
}

func taskConfigFromProto(p *driverpb.TaskConfig) *TaskConfig {
	if p == nil {
		return nil
	}
	return &TaskConfig{
		ID:               p.GetId(),
		Name:             p.GetName(),
		MsgpackConfig:    p.GetMsgpackDriverConfig(),
		Env:              p.GetEnv(),
		DeviceEnv:        p.GetDeviceEnv(),
		Resources:        resourcesFromProto(p.GetResources()),
		Mounts:           mapSlice(p.GetMounts(), mountFromProto),
		Devices:          mapSlice(p.GetDevices(), deviceFromProto),
		User:             p.GetUser(),
		AllocDir:         p.GetAllocDir(),
		StdoutPath:       p.GetStdoutPath(),
		StderrPath:       p.GetStderrPath(),
		TaskGroupName:    p.GetTaskGroupName(),
		JobName:          p.GetJobName(),
		AllocID:          p.GetAllocId(),
		NetworkIsolation: networkSpecFromProto(p.GetNetworkIsolationSpec()),
		DNS:              dnsFromProto(p.GetDns()),
		JobID:            p.GetJobId(),
		Namespace:        p.GetNamespace(),
		NodeName:         p.GetNodeName(),
		NodeID:           p.GetNodeId(),
		ParentJobID:      p.GetParentJobId(),
	}
}

func resourcesToProto(r *Resources) *driverpb.Resources {
	if r == nil {
		return nil
	}
	return &driverpb.Resources{
		AllocatedResources: &driverpb.AllocatedTaskResources{
			Cpu:      &driverpb.AllocatedCpuResources{CpuShares: r.CPUShares},
			Memory:   &driverpb.AllocatedMemoryResources{MemoryMb: r.MemoryMB, MemoryMaxMb: r.MemoryMaxMB},
			Networks: mapSlice(r.Networks, networkToProto),
		},
		LinuxResources: linuxToProto(r.Linux),
		Ports: mapSlice(r.Ports, func(m *PortMapping) *driverpb.PortMapping {
			return &driverpb.PortMapping{Label: m.Label, Value: m.Value, To: m.To, HostIp: m.HostIP}
		}),
	}
}

func resourcesFromProto(p *driverpb.Resources) *Resources {
	if p == nil {
		return nil
	}
	a := p.GetAllocatedResources()
	return &Resources{
		CPUShares:   a.GetCpu().GetCpuShares(),
		MemoryMB:    a.GetMemory().GetMemoryMb(),
		MemoryMaxMB: a.GetMemory().GetMemoryMaxMb(),
		Networks:    mapSlice(a.GetNetworks(), networkFromProto),
		Linux:       linuxFromProto(p.GetLinuxResources()),
		Ports: mapSlice(p.GetPorts(), func(m *driverpb.PortMapping) *PortMapping {
			return &PortMapping{Label: m.GetLabel(), Value: m.GetValue(), To: m.GetTo(), HostIP: m.GetHostIp()}
		}),
	}
}

func linuxToProto(l *LinuxResources) *driverpb.LinuxResources {
	if l == nil {
		return nil
	}
	return &driverpb.LinuxResources{
		CpuPeriod:        l.CPUPeriod,
		CpuQuota:         l.CPUQuota,
		CpuShares:        l.CPUShares,
		MemoryLimitBytes: l.MemoryLimitBytes,
		OomScoreAdj:      l.OOMScoreAdj,
		CpusetCpus:       l.CpusetCpus,
		CpusetCgroup:     l.CpusetCgroup,
		PercentTicks:     l.PercentTicks,
	}
}

func linuxFromProto(p *driverpb.LinuxResources) *LinuxResources {
	if p == nil {
		return nil
	}
	return &LinuxResources{
		CPUPeriod:        p.GetCpuPeriod(),
		CPUQuota:         p.GetCpuQuota(),
		CPUShares:        p.GetCpuShares(),
		MemoryLimitBytes: p.GetMemoryLimitBytes(),
		OOMScoreAdj:      p.GetOomScoreAdj(),
		CpusetCpus:       p.GetCpusetCpus(),
		CpusetCgroup:     p.GetCpusetCgroup(),
		PercentTicks:     p.GetPercentTicks(),
	}
}

func networkToProto(n *NetworkResource) *driverpb.NetworkResource {
	return &driverpb.NetworkResource{
		Device:        n.Device,
		Cidr:          n.CIDR,
		Ip:            n.IP,
		Mbits:         n.MBits,
		ReservedPorts: mapSlice(n.ReservedPorts, portToProto),
		DynamicPorts:  mapSlice(n.DynamicPorts, portToProto),
	}
}

func networkFromProto(p *driverpb.NetworkResource) *NetworkResource {
	return &NetworkResource{
		Device:        p.GetDevice(),
		CIDR:          p.GetCidr(),
		IP:            p.GetIp(),
		MBits:         p.GetMbits(),
		ReservedPorts: mapSlice(p.GetReservedPorts(), portFromProto),
		DynamicPorts:  mapSlice(p.GetDynamicPorts(), portFromProto),
	}
}

func portToProto(n NetworkPort) *driverpb.NetworkPort {
	return &driverpb.NetworkPort{Label: n.Label, Value: n.Value}
}

func portFromProto(p *driverpb.NetworkPort) NetworkPort {
	return NetworkPort{Label: p.GetLabel(), Value: p.GetValue()}
}

func mountToProto(m *Mount) *driverpb.Mount {
	return &driverpb.Mount{
		TaskPath:        m.TaskPath,
		HostPath:        m.HostPath,
		Readonly:        m.Readonly,
		PropagationMode: m.PropagationMode,
		SelinuxLabel:    m.SELinuxLabel,
		RequestName:     m.RequestName,
	}
}

func mountFromProto(p *driverpb.Mount) *Mount {
	return &Mount{
		TaskPath:        p.GetTaskPath(),
		HostPath:        p.GetHostPath(),
		Readonly:        p.GetReadonly(),
		PropagationMode: p.GetPropagationMode(),
		SELinuxLabel:    p.GetSelinuxLabel(),
		RequestName:     p.GetRequestName(),
	}
}

func deviceToProto(d *Device) *driverpb.Device {
	return &driverpb.Device{TaskPath: d.TaskPath, HostPath: d.HostPath, CgroupPermissions: d.CgroupPermissions}
}

func deviceFromProto(p *driverpb.Device) *Device {
	return &Device{TaskPath: p.GetTaskPath(), HostPath: p.GetHostPath(), CgroupPermissions: p.GetCgroupPermissions()}
}

func dnsToProto(d *DNSConfig) *driverpb.DNSConfig {
	if d == nil {
		return nil
	}
	return &driverpb.DNSConfig{Servers: d.Servers, Searches: d.Searches, Options: d.Options}
}

func dnsFromProto(p *driverpb.DNSConfig) *DNSConfig {
	if p == nil {
		return nil
	}
	return &DNSConfig{Servers: p.GetServers(), Searches: p.GetSearches(), Options: p.GetOptions()}
}

func networkSpecToProto(n *NetworkIsolationSpec) *driverpb.NetworkIsolationSpec {
	if n == nil {
		return nil
	}
	out := &driverpb.NetworkIsolationSpec{
		Mode:   driverpb.NetworkIsolationSpec_NetworkIsolationMode(n.Mode),
		Path:   n.Path,
		Labels: n.Labels,
	}
	if n.Hosts != nil {
		out.HostsConfig = &driverpb.HostsConfig{Hostname: n.Hosts.Hostname, Address: n.Hosts.Address}
	}
	return out
}

func networkSpecFromProto(p *driverpb.NetworkIsolationSpec) *NetworkIsolationSpec {
	if p == nil {
		return nil
	}
	out := &NetworkIsolationSpec{Mode: networkModeFromProto(p.GetMode()), Path: p.GetPath(), Labels: p.GetLabels()}
	if h := p.GetHostsConfig(); h != nil {
		out.Hosts = &HostsConfig{Hostname: h.GetHostname(), Address: h.GetAddress()}
	}
	return out
}

// networkModeFromProto reads an unknown mode as the host's network.
func networkModeFromProto(m driverpb.NetworkIsolationSpec_NetworkIsolationMode) NetworkMode {
	if _, ok := driverpb.NetworkIsolationSpec_NetworkIsolationMode_name[int32(m)]; !ok {
		return NetworkHost
	}
	return NetworkMode(m)
}

// mapSlice converts a slice; an empty one becomes nil, as on the wire.
func mapSlice[A, B any](in []A, f func(A) B) []B {
	if len(in) == 0 {
		return nil
	}
	out := make([]B, len(in))
	for i, a := range in {
		out[i] = f(a)
	}
	return out
}
