// Package sim runs a cluster in one goroutine from one seed: servers as state
// machine, broker, workers and planner over an ordered log, simulated nodes as
// their clients, a heap of events as the clock. The network drops, delays and
// doubles messages, nodes and servers crash, leaders change; after each entry
// the invariants of the state are checked, and when the faults stop everything
// must come to rest. A failure names its seed.
//
// It holds tests alone: see sim_test.go.
package sim
