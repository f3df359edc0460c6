package api

import "github.com/nomadlite/nomadlite/structs"

// PackedAllocs is a NodeAllocsResponse as it travels: what allocations share,
// their job version and resources, once. Metrics stay with the servers.
type PackedAllocs struct {
	Rest      NodeAllocsResponse // Allocs without what is below
	Jobs      []*structs.Job
	Resources []*structs.AllocatedResources
	// By allocation, the position plus one of its job and its resources.
	JobOf, ResourcesOf []int
}

// Pack makes the form of the answer that travels; the answer stays as it is.
func (r *NodeAllocsResponse) Pack() *PackedAllocs {
	p := &PackedAllocs{Rest: *r, JobOf: make([]int, len(r.Allocs)), ResourcesOf: make([]int, len(r.Allocs))}
	p.Rest.Allocs = make([]*structs.Allocation, len(r.Allocs))
	jobs, resources := map[*structs.Job]int{}, map[*structs.AllocatedResources]int{}
	for i, a := range r.Allocs {
		c := *a
		c.Job, c.AllocatedResources, c.Metrics = nil, nil, nil
		p.Rest.Allocs[i] = &c
		p.JobOf[i] = place(jobs, &p.Jobs, a.Job)
		p.ResourcesOf[i] = place(resources, &p.Resources, a.AllocatedResources)
	}
	return p
}

// place returns the position plus one of a value in a list, to which it adds it
// once; nil is 0.
func place[T any](seen map[*T]int, list *[]*T, v *T) int {
	if v == nil {
		return 0
	}
	if _, ok := seen[v]; !ok {
		*list = append(*list, v)
		seen[v] = len(*list)
	}
	return seen[v]
}

// Unpack is the answer that was packed.
func (p *PackedAllocs) Unpack() (*NodeAllocsResponse, error) {
	r := p.Rest
	if len(p.JobOf) != len(r.Allocs) || len(p.ResourcesOf) != len(r.Allocs) {
		return nil, structs.Errorf(structs.Internal, "cannot read the allocations of a node: %d of them, %d job versions, %d resources", len(r.Allocs), len(p.JobOf), len(p.ResourcesOf))
	}
	for i, a := range r.Allocs {
		job, resources := p.JobOf[i], p.ResourcesOf[i]
		if a == nil || job < 0 || job > len(p.Jobs) || resources < 0 || resources > len(p.Resources) {
			return nil, structs.Errorf(structs.Internal, "cannot read the allocations of a node: number %d refers to what was not sent", i)
		}
		if job > 0 {
			a.Job = p.Jobs[job-1]
		}
		if resources > 0 {
			a.AllocatedResources = p.Resources[resources-1]
		}
	}
	return &r, nil
}
