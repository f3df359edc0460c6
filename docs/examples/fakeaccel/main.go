// Command fakeaccel is an example of a device plugin: accelerators that are
// files. Every file of a folder is one, named like it; a file that says
// anything but "ok" is an accelerator out of order, for the reason that it says.
// One whose name begins with "big" is of a model with more memory.
//
// Build it into the agent's plugin_dir and name it in a plugin block:
//
//	plugin "fakeaccel" { config { dir = "/var/lib/accelerators" } }
//
// A job asks for some with: device "accelerator" { count = 2 }.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/plugins/base"
	"github.com/nomadlite/nomadlite/plugins/device"
	"github.com/nomadlite/nomadlite/plugins/hclspec"
)

func main() {
	device.Serve(func(log hclog.Logger) device.Device { return &accelerators{log: log} })
}

// What the accelerators say they are.
const (
	vendor = "acme"
	kind   = "accelerator"
)

// model is a kind of accelerator.
type model struct {
	name      string
	memoryMiB int64
}

var small, big = model{"a1", 16384}, model{"a2", 65536}

// modelOf tells an accelerator's model by its name.
func modelOf(id string) model {
	if strings.HasPrefix(id, "big") {
		return big
	}
	return small
}

const (
	lookEvery = 500 * time.Millisecond
	maxReason = 200 // bytes of a file that are read
)

// settings is the plugin block.
type settings struct {
	Dir     string `codec:"dir"`
	Library string `codec:"library"` // a folder that tasks need to see; "": none
}

type accelerators struct {
	log hclog.Logger

	mu     sync.Mutex // guards config
	config settings
}

// PluginInfo implements base.Plugin.
func (*accelerators) PluginInfo(context.Context) (*base.Info, error) {
	return &base.Info{Type: base.TypeDevice, APIVersions: []string{device.APIVersion}, Version: "0.1.0", Name: "fakeaccel"}, nil
}

// ConfigSchema implements base.Plugin.
func (*accelerators) ConfigSchema(context.Context) (*hclspec.Spec, error) {
	return hclspec.NewObject(map[string]*hclspec.Spec{
		"dir":     hclspec.NewAttr("dir", "string", true),
		"library": hclspec.NewAttr("library", "string", false),
	}), nil
}

// SetConfig implements base.Plugin.
func (a *accelerators) SetConfig(_ context.Context, config *base.Config) error {
	var s settings
	if err := config.Decode(&s); err != nil {
		return err
	}
	if !filepath.IsAbs(s.Dir) {
		return fmt.Errorf("dir %q is no absolute path", s.Dir)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.config = s
	return nil
}

func (a *accelerators) settings() settings {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.config
}

// look reads the folder.
func (a *accelerators) look(context.Context) []*device.Group {
	entries, err := os.ReadDir(a.settings().Dir)
	if err != nil {
		a.log.Warn("cannot read the folder of accelerators", "error", err)
		return nil
	}
	groups := map[model]*device.Group{}
	for _, e := range entries {
		state, err := a.read(e.Name())
		if err != nil {
			state = err.Error()
		}
		d := &device.Detected{ID: e.Name(), Healthy: state == "ok"}
		if !d.Healthy {
			d.HealthDescription = state
		}
		m := modelOf(d.ID)
		if groups[m] == nil {
			groups[m] = &device.Group{Vendor: vendor, Type: kind, Name: m.name, Attributes: map[string]base.Attribute{
				"memory": base.IntAttribute(m.memoryMiB, "MiB"),
				"cores":  base.IntAttribute(128, ""),
			}}
		}
		groups[m].Devices = append(groups[m].Devices, d)
	}
	var out []*device.Group
	for _, m := range []model{small, big} {
		if g := groups[m]; g != nil {
			out = append(out, g)
		}
	}
	return out
}

func (a *accelerators) read(name string) (string, error) {
	f, err := os.Open(filepath.Join(a.settings().Dir, name))
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxReason))
	return strings.TrimSpace(string(text)), err
}

// Fingerprint implements device.Device.
func (a *accelerators) Fingerprint(ctx context.Context, send func([]*device.Group) error) error {
	return base.StreamChanges(ctx, lookEvery, a.look, send)
}

// Reserve implements device.Device.
func (a *accelerators) Reserve(_ context.Context, ids []string) (*device.Reservation, error) {
	r := &device.Reservation{Envs: map[string]string{"FAKEACCEL_VISIBLE_DEVICES": strings.Join(ids, ",")}}
	for _, id := range ids {
		state, err := a.read(filepath.Base(id))
		if errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("there is no accelerator %q", id)
		}
		if err != nil || state != "ok" {
			return nil, fmt.Errorf("accelerator %q is out of order", id)
		}
		r.Devices = append(r.Devices, &device.Spec{TaskPath: "/dev/accel-" + id, HostPath: os.DevNull, Permissions: "rw"})
	}
	if library := a.settings().Library; library != "" {
		r.Mounts = append(r.Mounts, &device.Mount{TaskPath: "/usr/local/accel", HostPath: library, ReadOnly: true})
	}
	return r, nil
}

// Stats implements device.Device: each byte of a file is a MiB in use.
func (a *accelerators) Stats(ctx context.Context, interval time.Duration, send func([]*device.GroupStats) error) error {
	return base.StreamStats(ctx, interval, nil, a.measure, send)
}

func (a *accelerators) measure() ([]*device.GroupStats, error) {
	out := []*device.GroupStats{}
	for _, g := range a.look(context.Background()) {
		stats := &device.GroupStats{Vendor: vendor, Type: kind, Name: g.Name, Instances: map[string]*device.Stats{}}
		out = append(out, stats)
		for _, d := range g.Devices {
			used, total := int64(len(d.HealthDescription)+len("ok")), modelOf(d.ID).memoryMiB
			memory := &device.StatValue{IntNumeratorVal: &used, IntDenominatorVal: &total, Unit: "MiB", Desc: "memory in use"}
			stats.Instances[d.ID] = &device.Stats{
				Summary: memory, Time: time.Now(),
				Stats: &device.StatObject{Attributes: map[string]*device.StatValue{"Memory": memory}},
			}
		}
	}
	return out, nil
}
