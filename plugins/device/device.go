// Package device is both sides of the device plugin protocol, version v0.1.0
// (driver-plugin.md 8): what a plugin implements to offer accelerators, network
// cards and the like to tasks, and the host's way to such a plugin.
//
// A plugin is a program whose main function calls Serve. It does not place
// tasks and does not run them: it says which devices the node has, what a task
// needs to use those that it was given, and how busy they are.
package device

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nomadlite/nomadlite/plugins/base"
)

// APIVersion is the version of the protocol that this package speaks.
const APIVersion = "v0.1.0"

// ErrDisabled is the contract's answer of a plugin whose configuration turned
// it off.
var ErrDisabled = errors.New("device is not enabled")

// Device is what a device plugin implements, beside base.Plugin. The methods
// may be called at once from many goroutines.
type Device interface {
	base.Plugin

	// Fingerprint sends all groups of devices at once and all of them again
	// whenever one changes, until ctx ends or send fails.
	Fingerprint(ctx context.Context, send func([]*Group) error) error

	// Reserve says what a task needs to use the devices of these ids. It is
	// called before each start of the task and promises nothing: who has which
	// device is the scheduler's business.
	Reserve(ctx context.Context, ids []string) (*Reservation, error)

	// Stats sends how busy all devices are, at once and then every interval,
	// until ctx ends or send fails.
	Stats(ctx context.Context, interval time.Duration, send func([]*GroupStats) error) error
}

// Group is devices of one kind: a job that asks for the kind takes any of them.
type Group struct {
	Vendor     string // "nvidia"
	Type       string // "gpu"
	Name       string // the model
	Devices    []*Detected
	Attributes map[string]base.Attribute // of each device of the group
}

// Detected is one device.
type Detected struct {
	ID                string
	Healthy           bool
	HealthDescription string
	PCIBusID          string // "" when it has none
}

// Limits of a fingerprint: a node is sent whole.
const (
	maxGroups     = 64
	maxDevices    = 1024 // of a group
	maxAttributes = 256  // of a group
	maxText       = 256  // bytes of a name, an id or an attribute
)

// Validate reports what of a fingerprint cannot be used, by group and device.
func Validate(groups []*Group) error {
	if len(groups) > maxGroups {
		return fmt.Errorf("%d groups of devices: at most %d are taken", len(groups), maxGroups)
	}
	seen := map[string]bool{}
	var errs []error
	for i, g := range groups {
		if err := g.validate(); err != nil {
			errs = append(errs, fmt.Errorf("device group %d (%s): %w", i, g.ID(), err))
		}
		if seen[g.ID()] {
			errs = append(errs, fmt.Errorf("device group %d (%s): it is there twice", i, g.ID()))
		}
		seen[g.ID()] = true
	}
	return errors.Join(errs...)
}

// ID names the group as job files do: vendor/type/name.
func (g *Group) ID() string { return g.Vendor + "/" + g.Type + "/" + g.Name }

func (g *Group) validate() error {
	for what, text := range map[string]string{"vendor": g.Vendor, "type": g.Type, "name": g.Name} {
		if text == "" || len(text) > maxText {
			return fmt.Errorf("its %s is %d bytes long: 1 to %d are needed", what, len(text), maxText)
		}
	}
	if len(g.Devices) > maxDevices || len(g.Attributes) > maxAttributes {
		return fmt.Errorf("%d devices and %d attributes: at most %d and %d are taken", len(g.Devices), len(g.Attributes), maxDevices, maxAttributes)
	}
	ids := map[string]bool{}
	for i, d := range g.Devices {
		switch {
		case d.ID == "" || len(d.ID) > maxText:
			return fmt.Errorf("the id of device %d is %d bytes long: 1 to %d are needed", i, len(d.ID), maxText)
		case ids[d.ID]:
			return fmt.Errorf("device %q is there twice", d.ID)
		}
		ids[d.ID] = true
	}
	for name, a := range g.Attributes {
		if err := a.Validate(); err != nil {
			return fmt.Errorf("attribute %q: %w", name, err)
		}
		if len(name) > maxText || len(a.Text()) > maxText {
			return fmt.Errorf("attribute %.32q is longer than %d bytes", name, maxText)
		}
	}
	return nil
}

// Reservation is what a task needs to use devices.
type Reservation struct {
	Envs    map[string]string
	Mounts  []*Mount
	Devices []*Spec
}

// Mount shows a path of the host in the task.
type Mount struct {
	TaskPath string
	HostPath string
	ReadOnly bool
}

// Spec shows a device file of the host in the task. Permissions are of the
// letters r, w and m, as those of device cgroups.
type Spec struct {
	TaskPath    string
	HostPath    string
	Permissions string
}

// GroupStats is how busy the devices of a group are, by device id.
type GroupStats struct {
	Vendor    string
	Type      string
	Name      string
	Instances map[string]*Stats
}

// Stats is how busy a device is: one figure that says most, and all of them.
type Stats struct {
	Summary *StatValue
	Stats   *StatObject
	Time    time.Time
}

// StatObject is a tree of figures.
type StatObject struct {
	Nested     map[string]*StatObject
	Attributes map[string]*StatValue
}

// StatValue is a figure: a number, a share of a number, a text or a truth
// value. The names are those of the contract's JSON.
type StatValue struct {
	FloatNumeratorVal   *float64 `json:",omitempty"`
	FloatDenominatorVal *float64 `json:",omitempty"`
	IntNumeratorVal     *int64   `json:",omitempty"`
	IntDenominatorVal   *int64   `json:",omitempty"`
	StringVal           *string  `json:",omitempty"`
	BoolVal             *bool    `json:",omitempty"`
	Unit                string   `json:",omitempty"`
	Desc                string   `json:",omitempty"`
}
