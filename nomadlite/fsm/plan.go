package fsm

import (
	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

func encodePlan(p *structs.Plan) ([]byte, error) { return state.Encode(p) }

func decodePlan(b []byte) (*structs.Plan, error) {
	p := new(structs.Plan)
	return p, state.Decode(b, p)
}
