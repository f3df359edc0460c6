package fsm

import "github.com/nomadlite/nomadlite/structs"

func encodePlan(p *structs.Plan) ([]byte, error) { return nil, nil }
func decodePlan(b []byte) (*structs.Plan, error) { return nil, nil }
