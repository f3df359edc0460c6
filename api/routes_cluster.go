package api

// routeApplyMeta is the row whose body names a node.
const routeApplyMeta = "client.applyMeta"

func nodeRoutes() []Route {
	return []Route{
		list("node.list", "/v1/nodes", capNode, ListUUID, "List nodes; resources and os add fields."),
		read("node.read", "/v1/node/:id", capNode, "Read a node."),
		read("node.allocations", "/v1/node/:id/allocations", capNode, "List the allocations of a node."),
		write("node.eligibility", "/v1/node/:id/eligibility", capNodeEdit, "Make a node eligible for placements or not."),
		write("node.drain", "/v1/node/:id/drain", capNodeEdit, "Start, change or end the drain of a node."),
		write("node.evaluate", "/v1/node/:id/evaluate", capNodeEdit, "Make evaluations of all jobs on a node."),
		write("node.purge", "/v1/node/:id/purge", capNodeEdit, "Remove a node."),
		write("node.introduction", "/v1/acl/identity/client-introduction-token", capNodeEdit, "Make a token that introduces a new node."),
		list("nodePool.list", "/v1/node/pools", "node_pool:read", ListName, "List node pools.").filtered(),
		read("nodePool.read", "/v1/node/pool/:name", "node_pool:read", "Read a node pool."),
		write("nodePool.create", "/v1/node/pools", "node_pool:write", "Create or replace a node pool.").as(AnswerEmpty),
		write("nodePool.set", "/v1/node/pool/:name", "node_pool:write", "Create or replace the node pool that the path names.").as(AnswerEmpty),
		write("nodePool.delete", "/v1/node/pool/:name", "node_pool:delete", "Remove a node pool that neither nodes nor jobs use.").methods("DELETE").as(AnswerEmpty),
		list("nodePool.nodes", "/v1/node/pool/:name/nodes", capNode, ListUUID, "List the nodes of a pool."),
		list("nodePool.jobs", "/v1/node/pool/:name/jobs", "ns:list-jobs", ListNamespaced, "List the jobs of a pool."),
		node("client.stats", "/v1/client/stats", capNode, "What a node's host uses.").cors(),
		node("client.meta", "/v1/client/metadata", capNode, "The metadata of a node.").cors(),
		node(routeApplyMeta, "/v1/client/metadata", capNodeEdit, "Change the metadata of a node; null unsets a key.").methods("POST").limit(defaultBody).cors(),
		node("client.gc", "/v1/client/gc", capNodeEdit, "Remove all finished allocations from a node.").methods("GET", "PUT", "POST"),
	}
}

func eventRoutes() []Route {
	return []Route{
		read("event.stream", "/v1/event/stream", "ns:read-job", "Follow changes: topic, namespace, index to resume, payload=stub for less; one line an index, {} while idle.").
			anyNamespace().filtered().noBlock().noMeta().as(AnswerStream),
	}
}

func agentRoutes() []Route {
	return []Route{
		local("agent.self", "/v1/agent/self", capAgent, "The agent's configuration, member and statistics."),
		local("agent.health", "/v1/agent/health", "", "The agent's health; 500 when it is bad."),
		local("agent.members", "/v1/agent/members", capNode, "The members that the agent knows.").server(),
		local("agent.servers", "/v1/agent/servers", capAgent, "The servers that the agent's client talks to."),
		local("agent.setServers", "/v1/agent/servers", "agent:write", "Set the servers that the agent's client talks to.").methods("PUT", "POST").as(AnswerEmpty),
		local("agent.reload", "/v1/agent/reload", "agent:write", "Read the configuration again.").methods("PUT", "POST").as(AnswerEmpty),
		local("agent.monitor", "/v1/agent/monitor", capAgent, "Follow the agent's log.").as(AnswerStream),
		local("agent.metrics", "/v1/metrics", "", "The agent's metrics, as JSON or for Prometheus."),
		local("agent.profile", "/v1/agent/pprof/:profile", "agent:write", "A profile of the agent, for go tool pprof; needs enable_debug.").as(AnswerStream),
		local("status.leader", "/v1/status/leader", "", "The address of the leader.").server(),
		local("status.peers", "/v1/status/peers", "", "The addresses of the Raft peers.").server(),
		local("region.list", "/v1/regions", "", "The known regions.").server(),
		write("system.gc", "/v1/system/gc", "", "Collect all garbage.").methods("PUT").management().as(AnswerEmpty),
		write("system.reconcileSummaries", "/v1/system/reconcile/summaries", "", "Count all job summaries again.").methods("PUT").management().as(AnswerEmpty),
		read("operator.raftConfiguration", "/v1/operator/raft/configuration", "", "The Raft peers.").management().noBlock().noMeta(),
		write("agent.join", "/v1/agent/join", "agent:write", "Join other agents by their gossip addresses.").local(),
		write("agent.forceLeave", "/v1/agent/force-leave", "agent:write", "Take a failed member for one that left; prune forgets it.").local().as(AnswerEmpty),
		write("agent.keyring", "/v1/agent/keyring/:action", "agent:write", "List, install, use and remove gossip keys, on all members.").methods("GET", "PUT", "POST").server().noMeta(),
		read("operator.autopilotConfiguration", "/v1/operator/autopilot/configuration", "operator:read", "How the leader cares for the set of servers.").noBlock().noMeta(),
		write("operator.setAutopilotConfiguration", "/v1/operator/autopilot/configuration", "operator:write", "Change that; cas makes it conditional.").methods("PUT"),
		read("operator.autopilotHealth", "/v1/operator/autopilot/health", "operator:read", "The health of the servers; 429 when it is bad.").noBlock().noMeta(),
		read("operator.snapshot", "/v1/operator/snapshot", "", "The state of the cluster as an archive.").management().noBlock().noMeta().as(AnswerStream),
		write("operator.restoreSnapshot", "/v1/operator/snapshot", "", "Replace the state of the cluster by that of an archive.").management().limit(snapshotBody).as(AnswerEmpty),
		write("operator.raftRemovePeer", "/v1/operator/raft/peer", "", "Remove a Raft peer by id.").methods("DELETE").management().as(AnswerEmpty),
		write("operator.raftTransfer", "/v1/operator/raft/transfer-leadership", "", "Make another server the leader, by id or address.").management(),
		read("operator.schedulerConfiguration", "/v1/operator/scheduler/configuration", "operator:read", "The setting of the schedulers.").noBlock(),
		write("operator.setSchedulerConfiguration", "/v1/operator/scheduler/configuration", "operator:write", "Replace the setting of the schedulers; cas makes it conditional."),
		read("namespace.list", "/v1/namespaces", "ns:*", "List namespaces.").filtered(),
		read("namespace.read", "/v1/namespace/:name", "ns:*", "Read a namespace."),
		write("namespace.create", "/v1/namespace", "", "Create or replace a namespace.").management().as(AnswerEmpty),
		write("namespace.set", "/v1/namespace/:name", "", "Create or replace the namespace that the path names.").management().as(AnswerEmpty),
		write("namespace.delete", "/v1/namespace/:name", "", "Remove a namespace in which nothing runs.").methods("DELETE").management().as(AnswerEmpty),
		write("search.prefix", "/v1/search", "", "Find ids by prefix.").anyNamespace().filtered().reads(),
		write("search.fuzzy", "/v1/search/fuzzy", "", "Find names by a part of them.").anyNamespace().filtered().reads(),
	}
}
