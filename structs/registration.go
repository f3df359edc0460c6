package structs

import (
	"encoding/binary"
	"hash/fnv"
	"slices"
	"strings"
)

// Health of a service registration: what its checks say.
const (
	ServiceHealthy   = "healthy"   // all checks pass, or there are none
	ServiceUnhealthy = "unhealthy" // a check fails
	ServicePending   = "pending"   // a check has not run yet
)

// ServiceRegistration is one instance of a service of the built-in provider.
type ServiceRegistration struct {
	// ID is "_nomad-task-<alloc>-<task, or group-<group>>-<service>-<port>".
	ID          string
	ServiceName string
	Namespace   string
	NodeID      string
	Datacenter  string
	JobID       string
	AllocID     string
	Tags        []string
	Address     string
	Port        int
	// Health is beyond the contract.
	Health      string
	CreateIndex uint64
	ModifyIndex uint64
}

// Passing reports whether the instance may be used.
func (s *ServiceRegistration) Passing() bool { return s.Health == "" || s.Health == ServiceHealthy }

// Same reports whether two registrations say the same, indexes aside.
func (s *ServiceRegistration) Same(o *ServiceRegistration) bool {
	a, b := *s, *o
	a.CreateIndex, a.ModifyIndex, b.CreateIndex, b.ModifyIndex = 0, 0, 0, 0
	tags := strings.Join(a.Tags, "\x00") == strings.Join(b.Tags, "\x00")
	a.Tags, b.Tags = nil, nil
	return tags && a.ID == b.ID && a.ServiceName == b.ServiceName && a.Namespace == b.Namespace && a.NodeID == b.NodeID &&
		a.Datacenter == b.Datacenter && a.JobID == b.JobID && a.AllocID == b.AllocID && a.Address == b.Address && a.Port == b.Port && a.Health == b.Health
}

// Limits of a registration.
const (
	maxServiceTags = 64
	maxServiceText = 8 << 10 // of id, name, address and tags together
)

// Validate refuses what no node of ours would send.
func (s *ServiceRegistration) Validate() error {
	size := len(s.ID) + len(s.ServiceName) + len(s.Address)
	for _, tag := range s.Tags {
		size += len(tag)
	}
	switch {
	case s.ID == "" || s.ServiceName == "" || s.Namespace == "" || s.AllocID == "":
		return Errorf(Invalid, "cannot register service %q: it needs an id, a name, a namespace and an allocation", s.ID)
	case s.Port < 0 || s.Port > 65535:
		return Errorf(Invalid, "cannot register service %q: port %d is not between 0 and 65535", s.ServiceName, s.Port)
	case len(s.Tags) > maxServiceTags || size > maxServiceText:
		return Errorf(Invalid, "cannot register service %q: it has %d tags and %d bytes of text, at most %d and %d are allowed", s.ServiceName, len(s.Tags), size, maxServiceTags, maxServiceText)
	}
	return nil
}

// ChooseServices picks instances by rendezvous hashing: the same key gets the same
// ones for as long as they are there, and few keys move when one comes or goes.
func ChooseServices(instances []*ServiceRegistration, count int, key string) []*ServiceRegistration {
	weight := func(s *ServiceRegistration) uint64 {
		h := fnv.New64a()
		h.Write([]byte(key + "\x00" + s.ID))
		return mix(h.Sum64())
	}
	slices.SortFunc(instances, func(a, b *ServiceRegistration) int {
		var x, y [8]byte
		binary.BigEndian.PutUint64(x[:], weight(b))
		binary.BigEndian.PutUint64(y[:], weight(a))
		return strings.Compare(string(x[:])+a.ID, string(y[:])+b.ID)
	})
	return instances[:min(count, len(instances))]
}

// mix spreads the differences of close hashes over all bits.
func mix(h uint64) uint64 {
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
