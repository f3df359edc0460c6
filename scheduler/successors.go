package scheduler

import "github.com/nomadlite/nomadlite/structs"

// successors finds what came after the allocations of a group. Each question
// costs a look-up; what answers them is made by the first one.
type successors struct {
	all   []*structs.Allocation
	next  map[string]*structs.Allocation // by the id of the predecessor
	names map[string]bool                // that live allocations have
}

// of is the live allocation that replaces a, or replaces what replaced it and
// has ended since; nil when there is none.
func (s *successors) of(a *structs.Allocation) *structs.Allocation {
	if s.next == nil {
		s.link()
	}
	end, steps := s.next[a.ID], 0
	for ; end != nil && end.Terminal(); steps++ {
		if end.ID == a.ID { // a ring, which only its own members lead into
			end = nil
		} else {
			end = s.next[end.ID]
		}
	}
	// The links behind a are made as short as they can be, so that a long chain
	// is walked once, wherever the questions about it begin.
	for id := a.ID; steps > 0; steps-- {
		next := s.next[id]
		s.next[id], id = end, next.ID
	}
	return end
}

// link notes who follows whom: a live allocation, else the last that ended.
func (s *successors) link() {
	s.next = map[string]*structs.Allocation{}
	for _, b := range s.all {
		if b.PreviousAllocation == "" {
			continue
		}
		if was := s.next[b.PreviousAllocation]; was == nil || was.Terminal() {
			s.next[b.PreviousAllocation] = b
		}
	}
}

// named reports whether a live allocation has the name.
func (s *successors) named(name string) bool {
	if s.names == nil {
		s.names = map[string]bool{}
		for _, a := range s.all {
			if !a.Terminal() {
				s.names[a.Name] = true
			}
		}
	}
	return s.names[name]
}
