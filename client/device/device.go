// Package device knows what the device plugins of a node offer: it follows
// their fingerprints, and asks them what a task needs and how busy devices are.
// Their processes are run by client/driver.
package device

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/plugins/base"
	plugin "github.com/nomadlite/nomadlite/plugins/device"
	"github.com/nomadlite/nomadlite/structs"
)

// Limits of what a plugin is asked.
const (
	reserveTimeout = 10 * time.Second
	statsTimeout   = 2 * time.Second
	reopenDelay    = 5 * time.Second
)

// Manager is the devices of a node.
type Manager struct {
	log     hclog.Logger
	changed func()

	mu      sync.Mutex // guards what follows
	plugins map[string]*offer
}

// offer is what one plugin offers; client is nil while it does not answer.
type offer struct {
	client *plugin.Client
	groups []*structs.NodeDeviceResource
}

// New makes a manager; changed is called after each change of Resources.
func New(log hclog.Logger, changed func()) *Manager {
	return &Manager{log: log, changed: changed, plugins: map[string]*offer{}}
}

// Serve follows a plugin until ctx ends or the plugin fails. seen is called
// once its devices are known.
func (m *Manager) Serve(ctx context.Context, name string, client *plugin.Client, seen func()) error {
	defer m.lost(name)
	for {
		err := client.Fingerprint(ctx, func(groups []*plugin.Group) error {
			if err := m.take(name, client, groups); err != nil {
				return err
			}
			seen()
			return nil
		})
		if ctx.Err() != nil || err != nil {
			return err
		}
		select { // a stream that ends is opened again
		case <-time.After(reopenDelay):
		case <-ctx.Done():
			return nil
		}
	}
}

// take replaces what a plugin offers. A group belongs to the plugin that
// offered it first.
func (m *Manager) take(name string, client *plugin.Client, groups []*plugin.Group) error {
	m.mu.Lock()
	for _, g := range groups {
		for other, o := range m.plugins {
			if other != name && o.find(g.Vendor, g.Type, g.Name) != nil {
				m.mu.Unlock()
				return fmt.Errorf("device group %s is offered by plugin %q already; remove one of them", g.ID(), other)
			}
		}
	}
	o := &offer{client: client}
	for _, g := range groups {
		o.groups = append(o.groups, resource(g))
	}
	m.plugins[name] = o
	m.mu.Unlock()
	m.changed()
	return nil
}

// lost marks the devices of a plugin that does not answer: they are still
// there, and those who have them keep them, but nobody new gets them.
func (m *Manager) lost(name string) {
	m.mu.Lock()
	o := m.plugins[name]
	if o == nil {
		m.mu.Unlock()
		return
	}
	sick := &offer{}
	for _, g := range o.groups {
		c := *g
		c.Instances = nil
		for _, d := range g.Instances {
			dead := *d
			dead.Healthy, dead.HealthDescription = false, "device plugin does not answer"
			c.Instances = append(c.Instances, &dead)
		}
		sick.groups = append(sick.groups, &c)
	}
	m.plugins[name] = sick
	m.mu.Unlock()
	m.changed()
}

func (o *offer) find(vendor, typ, name string) *structs.NodeDeviceResource {
	for _, g := range o.groups {
		if g.Vendor == vendor && g.Type == typ && g.Name == name {
			return g
		}
	}
	return nil
}

// Resources lists all groups, ordered by vendor, type and name.
func (m *Manager) Resources() []*structs.NodeDeviceResource {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := []*structs.NodeDeviceResource{}
	for _, o := range m.plugins {
		out = append(out, o.groups...)
	}
	slices.SortFunc(out, func(a, b *structs.NodeDeviceResource) int {
		return strings.Compare(a.Vendor+"/"+a.Type+"/"+a.Name, b.Vendor+"/"+b.Type+"/"+b.Name)
	})
	return out
}

// Reserve asks what a task needs to use the devices that it was given.
func (m *Manager) Reserve(ctx context.Context, given *structs.AllocatedDeviceResource) (*plugin.Reservation, error) {
	id := given.Vendor + "/" + given.Type + "/" + given.Name
	m.mu.Lock()
	var owner *offer
	for _, o := range m.plugins {
		if o.find(given.Vendor, given.Type, given.Name) != nil {
			owner = o
		}
	}
	m.mu.Unlock()
	switch {
	case owner == nil:
		return nil, fmt.Errorf("no device plugin of this node offers %s", id)
	case owner.client == nil:
		return nil, fmt.Errorf("the device plugin of %s does not answer", id)
	}
	ctx, cancel := context.WithTimeout(ctx, reserveTimeout)
	defer cancel()
	r, err := owner.client.Reserve(ctx, given.DeviceIDs)
	if err != nil {
		return nil, fmt.Errorf("cannot reserve devices %s of %s: %w", strings.Join(given.DeviceIDs, ", "), id, err)
	}
	return r, nil
}

// Stats tells how busy all devices are. A plugin that does not tell in time is
// left out.
func (m *Manager) Stats(ctx context.Context) []*api.DeviceGroupStats {
	m.mu.Lock()
	var clients []*plugin.Client
	for _, name := range slices.Sorted(maps.Keys(m.plugins)) {
		if c := m.plugins[name].client; c != nil {
			clients = append(clients, c)
		}
	}
	m.mu.Unlock()
	out := []*api.DeviceGroupStats{}
	for _, c := range clients {
		groups, err := once(ctx, c)
		if err != nil {
			m.log.Debug("a device plugin does not tell how busy its devices are", "error", err)
		}
		for _, g := range groups {
			s := &api.DeviceGroupStats{Vendor: g.Vendor, Type: g.Type, Name: g.Name, InstanceStats: map[string]*api.DeviceStats{}}
			for id, one := range g.Instances {
				s.InstanceStats[id] = &api.DeviceStats{Summary: (*api.StatValue)(one.Summary), Stats: figures(one.Stats), Timestamp: one.Time}
			}
			out = append(out, s)
		}
	}
	return out
}

// figures is a plugin's tree of figures, which is of bounded depth.
func figures(o *plugin.StatObject) *api.StatObject {
	if o == nil {
		return nil
	}
	out := &api.StatObject{Nested: map[string]*api.StatObject{}, Attributes: map[string]*api.StatValue{}}
	for name, nested := range o.Nested {
		out.Nested[name] = figures(nested)
	}
	for name, v := range o.Attributes {
		out.Attributes[name] = (*api.StatValue)(v)
	}
	return out
}

var errEnough = errors.New("one is enough")

// once reads the first message of a stream of figures.
func once(ctx context.Context, c *plugin.Client) (groups []*plugin.GroupStats, err error) {
	ctx, cancel := context.WithTimeout(ctx, statsTimeout)
	defer cancel()
	err = c.Stats(ctx, time.Second, func(g []*plugin.GroupStats) error {
		groups = g
		return errEnough
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return groups, err
}

// Of narrows figures down to the devices that a task was given.
func Of(all []*api.DeviceGroupStats, given []*structs.AllocatedDeviceResource) []*api.DeviceGroupStats {
	out := []*api.DeviceGroupStats{}
	for _, g := range given {
		for _, s := range all {
			if s.Vendor != g.Vendor || s.Type != g.Type || s.Name != g.Name {
				continue
			}
			mine := &api.DeviceGroupStats{Vendor: s.Vendor, Type: s.Type, Name: s.Name, InstanceStats: map[string]*api.DeviceStats{}}
			for _, id := range g.DeviceIDs {
				if one := s.InstanceStats[id]; one != nil {
					mine.InstanceStats[id] = one
				}
			}
			out = append(out, mine)
		}
	}
	return out
}

// resource is a group as nodes show it.
func resource(g *plugin.Group) *structs.NodeDeviceResource {
	out := &structs.NodeDeviceResource{Vendor: g.Vendor, Type: g.Type, Name: g.Name, Attributes: map[string]*structs.Attribute{}}
	for _, d := range g.Devices {
		n := &structs.NodeDevice{ID: d.ID, Healthy: d.Healthy, HealthDescription: d.HealthDescription}
		if d.PCIBusID != "" {
			n.Locality = &structs.NodeDeviceLocality{PciBusID: d.PCIBusID}
		}
		out.Instances = append(out.Instances, n)
	}
	for name, a := range g.Attributes {
		out.Attributes[name] = attribute(a)
	}
	return out
}

func attribute(a base.Attribute) *structs.Attribute {
	return &structs.Attribute{FloatVal: a.Float, IntVal: a.Int, StringVal: a.String, BoolVal: a.Bool, Unit: a.Unit}
}
