package api

import "time"

// The bodies of the internal rows. Fields are only ever added: servers of two
// versions work together during an upgrade.

// ServerStatus is what a server says of itself.
type ServerStatus struct {
	ID, Name, Region, Datacenter string
	Addr                         string // "host:port" of its server port
	Version                      string
	// Expect is its bootstrap_expect.
	Expect int
	// ClusterID names its cluster, "" before that has had a leader. HasPeers
	// says that it is, or was, in one.
	ClusterID string
	HasPeers  bool
	// Leader and LeaderID are whom it follows, "" for nobody; LastContact is how
	// long that one was silent.
	Leader, LeaderID string
	LastContact      time.Duration
	// LastIndex is the end of its log, Applied the index of its state.
	LastIndex, Applied, Term uint64
}

// Regions is what a server knows of regions: who asks tells its own view, who
// is asked answers with its own.
type Regions struct {
	From  string // the region of the server that says so
	Known []RegionServers
}

// RegionServers are the server ports of a region, as one of its own servers
// said at Said, in nanoseconds by its clock.
type RegionServers struct {
	Region  string
	Servers []string
	Said    int64
}

// ServerJoin asks that a server becomes a peer, or that it ceases to be one.
type ServerJoin struct {
	ID, Addr, ClusterID string
}

// ServerPromise asks a server to be in no other first set of peers than that
// of server From.
type ServerPromise struct {
	From   string
	Expect int
}

// ReadIndex is an index that holds everything that was acknowledged.
type ReadIndex struct{ Index uint64 }

// NodeRef names a node.
type NodeRef struct {
	NodeID string
	// Addr is where it was connected from or is probed.
	Addr string
}

// NodeHello is who a node is that let itself be called.
type NodeHello struct {
	NodeID, SecretID string
	// Index is that of its registration.
	Index uint64
}

// Found answers whether something is so.
type Found struct{ OK bool }

// Probe says how an address answered.
type Probe struct{ Result ProbeResult }

// ProbeResult is the outcome of a probe.
type ProbeResult uint8

// Outcomes of probes. Silence is the zero value: it proves nothing.
const (
	ProbeSilent  ProbeResult = iota // no answer in time
	ProbeAnswers                    // somebody listens
	ProbeRefused                    // the machine is there and says that nobody does
)

// RaftIDAddress names a Raft peer.
type RaftIDAddress struct {
	ID      string
	Address string
}

// TransferLeadershipResponse answers a transfer of leadership. Noop says that
// the target led already.
type TransferLeadershipResponse struct {
	From, To RaftIDAddress
	Noop     bool
	Err      error `json:"Err"`
}

// KEKWanted names a Raft peer that lacks the keys that wrap some root keys.
type KEKWanted struct {
	ServerID string
	RootKeys []string
}

// Hand is the public key that is sealed to for a server's process.
type Hand struct{ Key []byte }

// KEKGift is the key that wraps a root key, sealed to its receiver's hand. The
// root key is known from Index on.
type KEKGift struct {
	RootKey string
	Index   uint64
	Sealed  []byte
}

// GossipKeys changes the gossip keys of an agent: Action is list, install, use
// or remove. Deep passes it on to the nodes that are connected to a server.
type GossipKeys struct {
	Action, Key string
	Deep        bool
}

// GossipKeysDone counts what came of it: members by key, and those that use
// the key that encrypts.
type GossipKeysDone struct {
	Members int
	Keys    map[string]int
	Primary map[string]int
	Failed  map[string]string // by member
}

// ForgetMember names a failed member.
type ForgetMember struct {
	Name  string
	Prune bool
}
