package api

import "time"

// Limits of blocking queries.
const (
	// DefaultWait is how long a blocking query waits when it names no time.
	DefaultWait = 300 * time.Second
	// MaxWait bounds the wait that a query may name.
	MaxWait = 300 * time.Second
	// JitterFraction is the part of the wait that is added at most, so that
	// many clients that began together do not return together.
	JitterFraction = 16
)

// QueryMeta is what the headers of a read say.
type QueryMeta struct {
	// LastIndex is X-Nomad-Index: pass it as WaitIndex to wait for a change.
	LastIndex uint64
	// LastContact is how long the answering server has not heard the leader.
	LastContact time.Duration
	KnownLeader bool
	// NextToken asks for the next page; empty on the last one.
	NextToken string
	// RequestTime is how long the request took, on the caller's clock.
	RequestTime time.Duration `json:"-"`
}

// WriteMeta is what the headers of a write say.
type WriteMeta struct {
	// LastIndex is the Raft index at which the write was applied.
	LastIndex   uint64
	RequestTime time.Duration `json:"-"`
}

// ResponseMeta is the part that many bodies carry besides their own fields
// (obs: http-api.md 99.13). Only Index is ever set.
type ResponseMeta struct {
	Index       uint64
	LastContact time.Duration
	KnownLeader bool
	NextToken   string
}

// WriteRequest is the part that bodies of writes may carry. The namespace and
// the region win over the query's only as http-api.md 1.3 says. SecretID is
// ignored: tokens come in headers alone.
type WriteRequest struct {
	Region    string `json:",omitempty"`
	Namespace string `json:",omitempty"`
	SecretID  string `json:",omitempty"`
}
