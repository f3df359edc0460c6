// Package scheduler decides where allocations run. It is a pure library: a
// snapshot, a cluster index and an evaluation go in, a plan with its
// explanation comes out, and the same input gives the same bytes.
//
// One pass goes reconcile (what must change, each change with a reason) →
// filter (may it run here) → score (how well) → plan. Reconcile compares a job
// with its allocations; filter and score work on Cluster, a columnar index of
// the nodes that its owner keeps up from state changes.
//
// The package knows nothing of stores, Raft, HTTP or clocks: time, randomness
// and identifiers come in Options. Facts about behaviour are those of
// reference/runtime.md sections 10 to 12 and 19.
package scheduler
