package structs

import "time"

// TaskGroup is the unit of placement: its tasks run together on one node.
type TaskGroup struct {
	Name             string                    `hcl:"name,label" change:"destroy"`
	Count            *int                      `hcl:"count" change:"inplace"`
	Constraints      []*Constraint             `hcl:"constraint,block" change:"inplace"`
	Affinities       []*Affinity               `hcl:"affinity,block" change:"inplace"`
	Tasks            []*Task                   `hcl:"task,block"`
	Spreads          []*Spread                 `hcl:"spread,block" change:"inplace"`
	Volumes          map[string]*VolumeRequest `hcl:"volume,block" change:"destroy"`
	RestartPolicy    *RestartPolicy            `hcl:"restart,block" change:"inplace"`
	Disconnect       *DisconnectStrategy       `hcl:"disconnect,block" change:"inplace"`
	ReschedulePolicy *ReschedulePolicy         `hcl:"reschedule,block" change:"inplace"`
	EphemeralDisk    *EphemeralDisk            `hcl:"ephemeral_disk,block" change:"destroy"`
	Update           *UpdateStrategy           `hcl:"update,block" change:"inplace"`
	Migrate          *MigrateStrategy          `hcl:"migrate,block" change:"inplace"`
	Networks         []*NetworkResource        `hcl:"network,block" change:"destroy"`
	Meta             map[string]string         `hcl:"meta,map" change:"destroy"`
	Services         []*Service                `hcl:"service,block" change:"inplace"`
	ShutdownDelay    *time.Duration            `hcl:"shutdown_delay" change:"inplace"`
	MaxRunDuration   *time.Duration            `hcl:"max_run_duration" change:"inplace"`
	Scaling          *ScalingPolicy            `hcl:"scaling,block" change:"inplace"`
	Consul           *Consul                   `hcl:"consul,block" change:"destroy"`

	// Accepted for old job files and ignored; disconnect replaces them.
	StopAfterClientDisconnect *time.Duration `hcl:"stop_after_client_disconnect" change:"ignore"`
	MaxClientDisconnect       *time.Duration `hcl:"max_client_disconnect" change:"ignore"`
	PreventRescheduleOnLost   *bool          `hcl:"prevent_reschedule_on_lost" change:"ignore"`
}

// EphemeralDisk is the disk that an allocation may use.
type EphemeralDisk struct {
	Sticky  bool `hcl:"sticky"`
	Migrate bool `hcl:"migrate"`
	SizeMB  *int `hcl:"size"`
}

// ScalingPolicy bounds and describes the scaling of a group or a task.
type ScalingPolicy struct {
	Min         *int64            `hcl:"min"`
	Max         *int64            `hcl:"max"`
	Policy      map[string]any    `hcl:"policy,free"`
	Enabled     *bool             `hcl:"enabled"`
	Type        string            `hcl:"type"`
	ID          string            `hcl:"-" change:"ignore"`
	Namespace   string            `hcl:"-" change:"ignore"`
	Target      map[string]string `hcl:"-" change:"ignore"`
	CreateIndex uint64            `hcl:"-" change:"ignore"`
	ModifyIndex uint64            `hcl:"-" change:"ignore"`
}

// AllServices lists the services of the group and of its tasks.
func (g *TaskGroup) AllServices() []*Service {
	var out []*Service
	lists := [][]*Service{g.Services}
	for _, t := range g.Tasks {
		if t != nil {
			lists = append(lists, t.Services)
		}
	}
	for _, list := range lists {
		for _, s := range list {
			if s != nil {
				out = append(out, s)
			}
		}
	}
	return out
}

// VolumeRequest asks for a volume that tasks of the group mount.
type VolumeRequest struct {
	Name           string           `hcl:"name,label"`
	Type           string           `hcl:"type"`
	Source         string           `hcl:"source"`
	ReadOnly       bool             `hcl:"read_only"`
	Sticky         bool             `hcl:"sticky"`
	AccessMode     string           `hcl:"access_mode"`
	AttachmentMode string           `hcl:"attachment_mode"`
	MountOptions   *CSIMountOptions `hcl:"mount_options,block"`
	PerAlloc       bool             `hcl:"per_alloc"`
}

// CSIMountOptions are passed to a storage plugin when it mounts a volume.
type CSIMountOptions struct {
	FSType     string   `hcl:"fs_type"`
	MountFlags []string `hcl:"mount_flags"`
}

// Consul selects a Consul namespace, cluster and partition.
type Consul struct {
	Namespace string `hcl:"namespace"`
	Cluster   string `hcl:"cluster"`
	Partition string `hcl:"partition"`
}
