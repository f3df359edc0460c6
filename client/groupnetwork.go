package client

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/nomadlite/nomadlite/client/alloc"
	"github.com/nomadlite/nomadlite/client/driver"
	"github.com/nomadlite/nomadlite/client/network"
	"github.com/nomadlite/nomadlite/client/taskenv"
	plugin "github.com/nomadlite/nomadlite/plugins/driver"
	"github.com/nomadlite/nomadlite/structs"
)

// groupNetwork is the hook that gives allocations the network of their group.
type groupNetwork struct {
	manager *network.Manager
	drivers *driver.Manager

	mu   sync.Mutex                              // guards made
	made map[string]*plugin.NetworkIsolationSpec // by drivers, by allocation
}

// Name implements alloc.Hook.
func (*groupNetwork) Name() string { return "network" }

// Needs implements alloc.Chooser: most groups use the host's network as it is.
func (*groupNetwork) Needs(g *structs.TaskGroup) bool {
	return len(g.Networks) > 0 && (ownMode(g.Networks[0]) || g.Networks[0].DNS != nil)
}

func ownMode(n *structs.NetworkResource) bool { return n.Mode != "" && n.Mode != "host" }

// Prerun implements alloc.Prerunner.
func (h *groupNetwork) Prerun(ctx context.Context, a *alloc.Alloc) error {
	want := a.Group.Networks[0]
	env := taskenv.Build(taskenv.Input{Alloc: a.Alloc, Group: a.Group, Task: &structs.Task{}, Node: a.Node})
	out := &alloc.Network{DNS: dnsOf(want.DNS, env)}
	if !ownMode(want) {
		a.SetNetwork(out)
		return nil
	}
	hostname := env.Replace(want.Hostname)
	out.Isolation = &plugin.NetworkIsolationSpec{Mode: plugin.NetworkGroup}
	if want.Mode == network.ModeNone {
		out.Isolation.Mode = plugin.NetworkNone
	}
	spec, err := h.byDriver(ctx, a, hostname)
	if err != nil {
		return err
	}
	req := network.Request{AllocID: a.Alloc.ID, Mode: want.Mode, Ports: portsOf(a.Alloc)}
	if spec != nil {
		req.Netns, out.Isolation.Labels = spec.Path, spec.Labels
	}
	if want.CNI != nil {
		req.Args = map[string]string{}
		for k, v := range want.CNI.Args {
			req.Args[k] = env.Replace(v)
		}
	}
	got, err := h.manager.Setup(ctx, req)
	if err != nil {
		return err
	}
	out.Isolation.Path = got.Netns
	if hostname != "" || got.Address != "" {
		out.Isolation.Hosts = &plugin.HostsConfig{Hostname: hostname, Address: got.Address}
	}
	if out.DNS == nil && len(got.Servers) > 0 {
		out.DNS = &plugin.DNSConfig{Servers: got.Servers, Searches: got.Searches, Options: got.Options}
	}
	if got.Address != "" || got.AddressIPv6 != "" {
		out.Status = &structs.AllocNetworkStatus{InterfaceName: got.Interface, Address: got.Address, AddressIPv6: got.AddressIPv6}
		if out.DNS != nil {
			out.Status.DNS = &structs.DNSConfig{Servers: out.DNS.Servers, Searches: out.DNS.Searches, Options: out.DNS.Options}
		}
	}
	a.SetNetwork(out)
	return nil
}

// dnsOf is the resolver that the job asks for; nil for the host's.
func dnsOf(want *structs.DNSConfig, env *taskenv.Env) *plugin.DNSConfig {
	if want == nil {
		return nil
	}
	replace := func(in []string) (out []string) {
		for _, s := range in {
			out = append(out, env.Replace(s))
		}
		return out
	}
	return &plugin.DNSConfig{Servers: replace(want.Servers), Searches: replace(want.Searches), Options: replace(want.Options)}
}

// portsOf are the ports to map; one without a port of its own inside keeps its
// number.
func portsOf(a *structs.Allocation) []network.Port {
	if a.AllocatedResources == nil {
		return nil
	}
	var out []network.Port
	for _, p := range a.AllocatedResources.Shared.Ports {
		inside := p.To
		if inside <= 0 {
			inside = p.Value
		}
		out = append(out, network.Port{HostIP: p.HostIP, Host: p.Value, Container: inside})
	}
	return out
}

// byDriver has the driver make the namespace where it must be its own.
func (h *groupNetwork) byDriver(ctx context.Context, a *alloc.Alloc, hostname string) (*plugin.NetworkIsolationSpec, error) {
	inst, err := h.maker(ctx, a.Group)
	if inst == nil || err != nil {
		return nil, err
	}
	spec, _, err := inst.CreateNetwork(ctx, a.Alloc.ID, hostname)
	if err != nil {
		return nil, fmt.Errorf("the driver cannot make the network namespace: %w", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.made[a.Alloc.ID] = spec
	return spec, nil
}

// maker finds the driver of the group that must make namespaces; nil for none.
func (h *groupNetwork) maker(ctx context.Context, g *structs.TaskGroup) (*driver.Instance, error) {
	for _, t := range g.Tasks {
		inst, err := h.drivers.Get(ctx, t.Driver)
		if err != nil {
			return nil, err
		}
		if inst.Capabilities.MustCreateNetwork {
			return inst, nil
		}
	}
	return nil, nil
}

// Postrun implements alloc.Postrunner.
func (h *groupNetwork) Postrun(ctx context.Context, a *alloc.Alloc) error {
	if !ownMode(a.Group.Networks[0]) {
		return nil
	}
	err := h.manager.Teardown(ctx, a.Alloc.ID)
	h.mu.Lock()
	spec := h.made[a.Alloc.ID]
	delete(h.made, a.Alloc.ID)
	h.mu.Unlock()
	if spec == nil {
		return err
	}
	inst, derr := h.maker(ctx, a.Group)
	if inst != nil {
		derr = inst.DestroyNetwork(ctx, a.Alloc.ID, spec)
	}
	return errors.Join(err, derr)
}
