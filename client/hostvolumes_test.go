package client

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nomadlite/nomadlite/client/alloc"
	"github.com/nomadlite/nomadlite/client/taskenv"
	plugin "github.com/nomadlite/nomadlite/plugins/driver"
	"github.com/nomadlite/nomadlite/structs"
)

// TestHostVolumeMounts: what a task gets of a node's volumes, and why not.
func TestHostVolumeMounts(t *testing.T) {
	node := &structs.Node{HostVolumes: map[string]*structs.HostVolumeInfo{
		"data": {Path: "/srv/data"}, "fixed": {Path: "/srv/fixed", ReadOnly: true}, "each[2]": {Path: "/srv/each2", ID: "dyn"},
	}}
	h := &hostVolumes{namespace: func(string) string { return "prod" }}
	mount := &structs.VolumeMount{Volume: "v", Destination: "/in/${NOMAD_TASK_NAME}"}
	for _, tc := range []struct {
		name    string
		request structs.VolumeRequest
		change  func(*alloc.Task, *structs.VolumeMount)
		want    *plugin.Mount
		err     string
	}{
		{"plain", structs.VolumeRequest{Type: "host", Source: "data"}, nil, &plugin.Mount{TaskPath: "/in/t", HostPath: "/srv/data", RequestName: "v"}, ""},
		{"the group reads", structs.VolumeRequest{Type: "host", Source: "data", ReadOnly: true}, nil,
			&plugin.Mount{TaskPath: "/in/t", HostPath: "/srv/data", RequestName: "v", Readonly: true}, ""},
		{"the task reads", structs.VolumeRequest{Type: "host", Source: "fixed"}, func(_ *alloc.Task, m *structs.VolumeMount) { m.ReadOnly = true },
			&plugin.Mount{TaskPath: "/in/t", HostPath: "/srv/fixed", RequestName: "v", Readonly: true}, ""},
		{"the node forbids writing", structs.VolumeRequest{Type: "host", Source: "fixed"}, nil, nil, `"fixed" is read-only on this node`},
		{"one for each allocation", structs.VolumeRequest{Type: "host", Source: "each", PerAlloc: true}, nil,
			&plugin.Mount{TaskPath: "/in/t", HostPath: "/srv/each2", RequestName: "v"}, ""},
		{"another namespace", structs.VolumeRequest{Type: "host", Source: "each", PerAlloc: true}, func(t *alloc.Task, _ *structs.VolumeMount) { t.Alloc.Namespace = "dev" },
			nil, `is of namespace "prod"`},
		{"missing", structs.VolumeRequest{Type: "host", Source: "nosuch"}, nil, nil, `no host volume "nosuch"`},
		{"storage plugins", structs.VolumeRequest{Type: "csi", Source: "data"}, nil, nil, "type csi"},
		{"a driver without mounts", structs.VolumeRequest{Type: "host", Source: "data"},
			func(t *alloc.Task, _ *structs.VolumeMount) { t.Capabilities.MountConfigs = plugin.MountConfigsNone }, nil, `task driver "d" for "t" does not support host volumes`},
	} {
		spec := &structs.Task{Name: "t", Driver: "d"}
		group := &structs.TaskGroup{Name: "g", Volumes: map[string]*structs.VolumeRequest{"v": &tc.request}}
		a := &structs.Allocation{Name: "j.g[2]", Namespace: "prod", Job: &structs.Job{ID: "j"}}
		task := &alloc.Task{Alloc: a, Group: group, Spec: spec, Node: node, Capabilities: plugin.Capabilities{MountConfigs: plugin.MountConfigsAny},
			Env: taskenv.Build(taskenv.Input{Alloc: a, Group: group, Task: spec, Node: node})}
		m := *mount
		if tc.change != nil {
			tc.change(task, &m)
		}
		got, err := h.mount(task, &m)
		if tc.err != "" {
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%s: %v, want %q", tc.name, err, tc.err)
			}
			continue
		}
		if diff := cmp.Diff(tc.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", tc.name, err, diff)
		}
	}
}
