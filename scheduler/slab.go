package scheduler

import "github.com/nomadlite/nomadlite/structs"

// slab hands out slices of one array, so that thousands of placements cost few
// allocations. The zero value is ready.
type slab[T any] struct {
	free []T
	// chunk is how many elements an array has at least.
	chunk int
}

// take returns n zero elements that nobody else has.
func (s *slab[T]) take(n int) []T {
	if n > len(s.free) {
		s.free = make([]T, max(n, s.chunk))
	}
	out := s.free[:n:n]
	s.free = s.free[n:]
	return out
}

// keep returns a copy of a list.
func (s *slab[T]) keep(list []T) []T {
	out := s.take(len(list))
	copy(out, list)
	return out
}

// extraSlabs are what the extras of placements are made of.
type extraSlabs struct {
	extras   slab[structs.PlacementExtra]
	mappings slab[structs.PortMapping]
	nets     slab[structs.NetworkResource]
	netList  slab[*structs.NetworkResource]
	ports    slab[structs.Port]
}

// maxChunk bounds what is set aside for placements that may never come.
const maxChunk = 256

// expect prepares for as many placements of a group.
func (s *extraSlabs) expect(placements int, ask *groupAsk) {
	n := min(placements, maxChunk)
	s.extras.chunk, s.mappings.chunk, s.ports.chunk = n, n*ask.ports.count(), n*ask.ports.count()
	s.nets.chunk, s.netList.chunk = n*len(ask.Group.Networks), n*len(ask.Group.Networks)
}
