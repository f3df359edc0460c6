package api

// internalBody bounds the bodies between agents: a report of a node that runs
// thousands of allocations fits.
const internalBody = 16 << 20

// snapshotBody bounds an archive that is restored over the API.
const snapshotBody = 1 << 30

// Paths of the internal rows, for CallInternal.
const (
	PathNodeRegister     = "/v1/internal/node/register"
	PathNodeIntroduce    = "/v1/internal/node/introduce"
	PathNodeHeartbeat    = "/v1/internal/node/heartbeat"
	PathNodeAllocs       = "/v1/internal/node/allocs"
	PathNodeUpdateAllocs = "/v1/internal/node/update"
	PathNodeServices     = "/v1/internal/node/services"
	PathNodeLookup       = "/v1/internal/node/lookup"
	PathNodeSign         = "/v1/internal/node/sign"
	PathNodeDrain        = "/v1/internal/node/drain"
	PathNodeCheck        = "/v1/internal/node/check"
	PathNodeMigrate      = "/v1/internal/node/migrate"
	PathNodeHello        = "/v1/internal/node/hello"
	PathServerStatus     = "/v1/internal/server/status"
	PathServerPromise    = "/v1/internal/server/promise"
	PathServerJoin       = "/v1/internal/server/join"
	PathServerLeave      = "/v1/internal/server/leave"
	PathServerReadIndex  = "/v1/internal/server/read-index"
	PathServerRegions    = "/v1/internal/server/regions"
	PathServerHasNode    = "/v1/internal/server/has-node"
	PathServerProbe      = "/v1/internal/server/probe"
	PathServerNodeLost   = "/v1/internal/server/node-lost"
	PathServerKEKWanted  = "/v1/internal/server/kek-wanted"
	PathServerHand       = "/v1/internal/server/hand"
	PathServerKEKGift    = "/v1/internal/server/kek-gift"
	PathAgentKeys        = "/v1/internal/agent/keys"
	PathAgentForceLeave  = "/v1/internal/agent/force-leave"
)

func internalRoutes() []Route {
	return []Route{
		internal("node.register", "node/register", AuthAgent, "Add a node or change what is known of it."),
		internal("node.introduce", "node/introduce", AuthAgent, "Add a node that shows an introduction token."),
		internal("node.heartbeat", "node/heartbeat", AuthAgent, "Keep a node alive."),
		internal("node.syncAllocs", "node/allocs", AuthAgent, "Wait for changes of a node's allocations.").local(),
		internal("node.updateAllocs", "node/update", AuthAgent, "Report the states of a node's allocations."),
		internal("node.services", "node/services", AuthAgent, "Tell what a node's allocations offer."),
		internal("node.lookup", "node/lookup", AuthAgent, "Read data for a task of a node."),
		internal("node.sign", "node/sign", AuthAgent, "Sign identities of a node's tasks."),
		internal("node.drainSelf", "node/drain", AuthAgent, "Drain the node that asks, before its agent leaves."),
		internal("node.migrate", "node/migrate", AuthAgent, "The right to read what the allocation before one left."),
		internal("node.check", "node/check", AuthAgent, "Say whose an identity is."),
		internal("client.hello", "node/hello", AuthServer, "Who the node of a connection is.").local(),
		internal("server.status", "server/status", AuthServer, "What a server is and knows.").local(),
		internal("server.promise", "server/promise", AuthServer, "Agree to the first set of servers.").local(),
		internal("server.join", "server/join", AuthServer, "Become a Raft peer."),
		internal("server.leave", "server/leave", AuthServer, "Cease to be a Raft peer."),
		internal("server.readIndex", "server/read-index", AuthServer, "An index that holds all that was acknowledged."),
		internal("server.regions", "server/regions", AuthRegion, "Which regions there are, and their servers.").local(),
		internal("server.hasNode", "server/has-node", AuthServer, "Whether a node is connected to this server.").local(),
		internal("server.probe", "server/probe", AuthServer, "Whether an address answers this server.").local(),
		internal("server.nodeLost", "server/node-lost", AuthServer, "A node's connection has ended."),
		internal("server.kekWanted", "server/kek-wanted", AuthServer, "Give a Raft peer the keys that wrap root keys.").local(),
		internal("server.hand", "server/hand", AuthServer, "What to seal to for this server.").local(),
		internal("server.kekGift", "server/kek-gift", AuthServer, "Take a key that wraps a root key, sealed.").local(),
		internal("agent.keys", "agent/keys", AuthServer, "Change the gossip keys of an agent, and of the nodes connected to it.").local(),
		internal("agent.forgetMember", "agent/force-leave", AuthServer, "Take a failed member for one that left.").local(),
	}
}
