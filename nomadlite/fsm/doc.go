// Package fsm applies Raft entries to the state: a header, a strict decoder and
// a table from command to applier. An entry is one command and one transaction.
//
// Applying is deterministic and never waits for anything downstream: whoever
// needs to know of changes watches the state.
package fsm
