package client

import (
	"context"
	"fmt"
	"sync"

	"github.com/nomadlite/nomadlite/client/alloc"
	"github.com/nomadlite/nomadlite/client/device"
	"github.com/nomadlite/nomadlite/client/fingerprint"
	"github.com/nomadlite/nomadlite/plugins/base"
	deviceplugin "github.com/nomadlite/nomadlite/plugins/device"
	plugin "github.com/nomadlite/nomadlite/plugins/driver"
	"github.com/nomadlite/nomadlite/structs"
)

// serveDevices follows a device plugin.
func (c *Client) serveDevices(ctx context.Context, name string, p *base.Process) error {
	var first sync.Once
	return c.devices.Serve(ctx, name, deviceplugin.NewClient(p.Conn()), func() {
		first.Do(func() { c.pluginSeen(name) })
	})
}

// devicesChanged takes what the device plugins offer into the node.
func (c *Client) devicesChanged() {
	c.mu.Lock()
	c.node = c.node.Copy()
	c.node.NodeResources.Devices = c.devices.Resources()
	fingerprint.NearDevices(c.node)
	c.mu.Unlock()
	select {
	case c.nodeChanged <- struct{}{}:
	default:
	}
}

// deviceHook gives tasks what they need to use their devices.
type deviceHook struct{ devices *device.Manager }

// Name implements alloc.Hook.
func (*deviceHook) Name() string { return "devices" }

// Needs implements alloc.Chooser.
func (*deviceHook) Needs(g *structs.TaskGroup) bool { return wantsDevices(g) }

func wantsDevices(g *structs.TaskGroup) bool {
	for _, t := range g.Tasks {
		if t.Resources != nil && len(t.Resources.Devices) > 0 {
			return true
		}
	}
	return false
}

// Prestart implements alloc.Prestarter. A plugin that does not answer now may
// do so at the next try.
func (h *deviceHook) Prestart(ctx context.Context, t *alloc.Task) error {
	for _, given := range devicesOf(t.Alloc, t.Spec.Name) {
		r, err := h.devices.Reserve(ctx, given)
		if err != nil {
			return err
		}
		if len(r.Mounts) > 0 && t.Capabilities.MountConfigs == plugin.MountConfigsNone {
			return &alloc.Failure{Kind: structs.TaskSetupFailure, Err: fmt.Errorf("task driver %q for %q cannot mount what device %s needs", t.Spec.Driver, t.Spec.Name, given.Type)}
		}
		t.AddEnv(r.Envs)
		for _, m := range r.Mounts {
			t.AddMount(&plugin.Mount{TaskPath: m.TaskPath, HostPath: m.HostPath, Readonly: m.ReadOnly})
		}
		for _, d := range r.Devices {
			t.AddDevice(&plugin.Device{TaskPath: d.TaskPath, HostPath: d.HostPath, CgroupPermissions: d.Permissions})
		}
	}
	return nil
}

// devicesOf are the devices that a task was given.
func devicesOf(a *structs.Allocation, task string) []*structs.AllocatedDeviceResource {
	if a.AllocatedResources == nil || a.AllocatedResources.Tasks[task] == nil {
		return nil
	}
	return a.AllocatedResources.Tasks[task].Devices
}
