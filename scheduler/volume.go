package scheduler

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nomadlite/nomadlite/structs"
)

// Access modes of host volumes; see reference jobspec. A reader, and a writer
// that names no mode, share the volume with everybody.
const (
	accessSingleWriter = "single-node-single-writer"
	accessReader       = "single-node-reader-only"
)

// hostVolumes are the host volumes that allocation index of a group needs, by
// name, with per_alloc sources made out.
func hostVolumes(g *structs.TaskGroup, index uint32) []*structs.VolumeRequest {
	var list []*structs.VolumeRequest
	for _, v := range g.Volumes {
		if v == nil || v.Type != "host" {
			continue
		}
		if v.PerAlloc {
			own := *v
			own.Source = fmt.Sprintf("%s[%d]", v.Source, index)
			v = &own
		}
		list = append(list, v)
	}
	slices.SortFunc(list, func(a, b *structs.VolumeRequest) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// writerClaims are the claims of those who write under an access mode.
func writerClaims(list []*structs.VolumeRequest) []structs.VolumeClaim {
	var claims []structs.VolumeClaim
	for _, v := range list {
		if v.AccessMode != "" && v.AccessMode != accessReader && !v.ReadOnly {
			claims = append(claims, structs.VolumeClaim{Source: v.Source, Exclusive: v.AccessMode == accessSingleWriter})
		}
	}
	return claims
}

// volumesOf are the claims of an allocation.
func volumesOf(a *structs.Allocation) []structs.VolumeClaim {
	g := lookupGroup(a.Job, a.TaskGroup)
	if g == nil || len(g.Volumes) == 0 {
		return nil
	}
	return writerClaims(hostVolumes(g, uint32(a.Index())))
}

// perAlloc reports whether the allocations of a group need different volumes,
// and so different nodes may fit each.
func perAlloc(g *structs.TaskGroup) bool {
	for _, v := range g.Volumes {
		if v != nil && v.Type == "host" && v.PerAlloc {
			return true
		}
	}
	return false
}
