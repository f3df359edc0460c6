// Package state holds the replicated state of a region: every noun at one Raft
// index.
//
// A write is a transaction of one Raft entry: Begin, verbs, Commit. Commit
// publishes one new root through an atomic pointer, so that a Snapshot is one
// load, never blocks a writer and is never too old to read. Allocations, of
// which there are millions, live in columns (package alloctable); every other
// noun is a row of a generic copy-on-write table declared in tables.go. Saving,
// restoring, watching and hashing come from that declaration.
//
// The package is deterministic: no clock, no random number and no order of a
// Go map reaches the state. It knows nothing of Raft or HTTP.
package state
