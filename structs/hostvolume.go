package structs

import (
	"fmt"
	"path/filepath"
)

// HostVolume is a dynamic host volume: storage that a plugin of one node made
// for the jobs of a namespace.
type HostVolume struct {
	Namespace                 string                  `hcl:"namespace"`
	ID                        string                  `hcl:"id"`
	Name                      string                  `hcl:"name"`
	PluginID                  string                  `hcl:"plugin_id"`
	NodePool                  string                  `hcl:"node_pool"`
	NodeID                    string                  `hcl:"node_id"`
	Constraints               []*Constraint           `json:",omitempty" hcl:"constraint,block"`
	RequestedCapacityMinBytes int64                   `hcl:"capacity_min"`
	RequestedCapacityMaxBytes int64                   `hcl:"capacity_max"`
	CapacityBytes             int64                   `hcl:"capacity"`
	RequestedCapabilities     []*HostVolumeCapability `hcl:"capability,block"`
	Parameters                map[string]string       `json:",omitempty" hcl:"parameters"`
	HostPath                  string                  `hcl:"host_path"`
	State                     string                  // one of the HostVolumeState constants
	CreateIndex               uint64
	CreateTime                int64 // unix seconds
	ModifyIndex               uint64
	ModifyTime                int64            // unix seconds
	Allocations               []*AllocListStub `json:",omitempty"` // that use it; of reads alone
}

// HostVolumeCapability is a way in which a volume may be used.
type HostVolumeCapability struct {
	AttachmentMode string `hcl:"attachment_mode"`
	AccessMode     string `hcl:"access_mode"`
}

// States of a host volume.
const (
	HostVolumePending     = "pending" // its node has not made it yet
	HostVolumeReady       = "ready"
	HostVolumeUnavailable = "unavailable" // its node is down
)

// HostVolumeMkdir is the built-in plugin, a folder.
const HostVolumeMkdir = "mkdir"

// VolumeName is the name of the volume that one allocation of a group has for
// itself (per_alloc).
func VolumeName(source string, index uint) string { return fmt.Sprintf("%s[%d]", source, index) }

// HostVolumeStub is a host volume in lists.
type HostVolumeStub struct {
	Namespace     string
	ID            string
	Name          string
	PluginID      string
	NodePool      string
	NodeID        string
	CapacityBytes int64
	State         string
	CreateIndex   uint64
	CreateTime    int64
	ModifyIndex   uint64
	ModifyTime    int64
}

// Stub is the volume for lists.
func (v *HostVolume) Stub() *HostVolumeStub {
	return &HostVolumeStub{
		Namespace: v.Namespace, ID: v.ID, Name: v.Name, PluginID: v.PluginID, NodePool: v.NodePool, NodeID: v.NodeID,
		CapacityBytes: v.CapacityBytes, State: v.State, CreateIndex: v.CreateIndex, CreateTime: v.CreateTime,
		ModifyIndex: v.ModifyIndex, ModifyTime: v.ModifyTime,
	}
}

// Canonicalize fills in the defaults.
func (v *HostVolume) Canonicalize() {
	if v.Namespace == "" {
		v.Namespace = DefaultNamespace
	}
	if v.PluginID == "" {
		v.PluginID = HostVolumeMkdir
	}
	if len(v.RequestedCapabilities) == 0 {
		v.RequestedCapabilities = []*HostVolumeCapability{{AttachmentMode: "file-system", AccessMode: "single-node-writer"}}
	}
}

var (
	volumeName   = pattern(`^[a-zA-Z0-9_][a-zA-Z0-9-_.]{0,127}(\[[0-9]{1,6}\])?$`)
	volumePlugin = pattern(`^[a-zA-Z0-9_][a-zA-Z0-9-_.]{0,127}$`)
)

// accessModes are those of volumes of one node.
var accessModes = []string{"single-node-reader-only", "single-node-writer", "single-node-single-writer", "single-node-multi-writer"}

// Validate says what is wrong with a volume that shall be made, or registered
// as it stands on its node.
func (v *HostVolume) Validate(register bool) error {
	p := &problems{checks: &Checks{}, warnings: new([]string), found: new(int)}
	if !volumeName().MatchString(v.Name) {
		p.add("name %q must begin with a letter, digit or underscore, hold these, dashes and dots, and may end in an index like [0]", v.Name)
	}
	if !volumePlugin().MatchString(v.PluginID) {
		p.add("plugin_id %q is no name of a plugin", v.PluginID)
	}
	if v.RequestedCapacityMinBytes < 0 || v.RequestedCapacityMaxBytes < 0 || v.RequestedCapacityMaxBytes > 0 && v.RequestedCapacityMaxBytes < v.RequestedCapacityMinBytes {
		p.add("capacity_max (%d) must be larger than capacity_min (%d), and neither negative", v.RequestedCapacityMaxBytes, v.RequestedCapacityMinBytes)
	}
	for i, c := range v.RequestedCapabilities {
		if c == nil {
			p.add("capability %d is missing", i)
			continue
		}
		p.oneOf(fmt.Sprintf("capability %d has an invalid attachment_mode:", i), c.AttachmentMode, "file-system", "block-device")
		p.oneOf(fmt.Sprintf("capability %d has an invalid access_mode:", i), c.AccessMode, accessModes...)
	}
	for i, c := range v.Constraints {
		if c == nil {
			p.add("constraint %d is missing", i)
		}
	}
	switch {
	case register && v.NodeID == "":
		p.add("node_id is required: a volume is registered on the node where it stands")
	case register && !filepath.IsAbs(v.HostPath):
		p.add("host_path %q must be an absolute path of the node", v.HostPath)
	case !register && v.HostPath != "":
		p.add("host_path is for volumes that are registered; the plugin chooses it")
	}
	if len(p.Errors) == 0 {
		return nil
	}
	return Errorf(Invalid, "%w", &p.ErrorList)
}
