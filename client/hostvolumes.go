package client

import (
	"context"
	"fmt"

	"github.com/nomadlite/nomadlite/client/alloc"
	plugin "github.com/nomadlite/nomadlite/plugins/driver"
	"github.com/nomadlite/nomadlite/structs"
)

// hostVolumes is the hook that shows the node's volumes to tasks.
type hostVolumes struct {
	// namespace is the one that a dynamic volume is for; "" for a static one,
	// which every namespace may mount.
	namespace func(volumeID string) string
}

// Name implements alloc.Hook.
func (*hostVolumes) Name() string { return "volumes" }

// Needs implements alloc.Chooser.
func (*hostVolumes) Needs(g *structs.TaskGroup) bool { return len(g.Volumes) > 0 }

// Prestart implements alloc.Prestarter.
func (h *hostVolumes) Prestart(_ context.Context, t *alloc.Task) error {
	for _, m := range t.Spec.VolumeMounts {
		mount, err := h.mount(t, m)
		if err != nil {
			return &alloc.Failure{Kind: structs.TaskSetupFailure, Err: err}
		}
		t.AddMount(mount)
	}
	return nil
}

// mount resolves one mount: the more restrictive of task, group and node
// decides whether it may be written.
func (h *hostVolumes) mount(t *alloc.Task, m *structs.VolumeMount) (*plugin.Mount, error) {
	want := t.Group.Volumes[m.Volume]
	switch {
	case want == nil:
		return nil, fmt.Errorf("the group has no volume %q", m.Volume)
	case want.Type != "host":
		return nil, fmt.Errorf("volume %q is of type %s, which this build of nomadlite cannot mount", m.Volume, want.Type)
	case t.Capabilities.MountConfigs == plugin.MountConfigsNone:
		return nil, fmt.Errorf("task driver %q for %q does not support host volumes", t.Spec.Driver, t.Spec.Name)
	}
	source := volumeSource(want, t.Alloc)
	have := t.Node.HostVolumes[source]
	if have == nil {
		return nil, fmt.Errorf("this node has no host volume %q", source)
	}
	if ns := h.namespace(have.ID); have.ID != "" && ns != t.Alloc.Namespace {
		return nil, fmt.Errorf("host volume %q is of namespace %q: an allocation of namespace %q cannot mount it", source, ns, t.Alloc.Namespace)
	}
	if have.ReadOnly && !want.ReadOnly && !m.ReadOnly {
		return nil, fmt.Errorf("host volume %q is read-only on this node: ask for it with read_only = true", source)
	}
	return &plugin.Mount{
		TaskPath: t.Env.Replace(m.Destination), HostPath: have.Path, RequestName: m.Volume,
		Readonly: m.ReadOnly || want.ReadOnly || have.ReadOnly, PropagationMode: m.PropagationMode, SELinuxLabel: m.SELinuxLabel,
	}, nil
}

// volumeSource is the name of a volume on the node: with per_alloc each
// allocation has its own.
func volumeSource(v *structs.VolumeRequest, a *structs.Allocation) string {
	if v.PerAlloc {
		return structs.VolumeName(v.Source, a.Index())
	}
	return v.Source
}
