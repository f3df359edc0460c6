package api

// Body limits beyond defaultBody (reliability.md 1d).
const (
	defaultBody  = 1 << 20
	jobBody      = 10 << 20
	parseBody    = 4 << 20 // 1 MiB of source, escaped, and variables
	dispatchBody = 256 << 10
	// MaxPayload is the largest dispatch payload.
	MaxPayload = 16 << 10
	// MaxJobSource is the largest job file that the parse route takes.
	MaxJobSource = 1 << 20
)

// Capabilities that several rows share.
const (
	capReadJob  Capability = "ns:read-job"
	capNode     Capability = "node:read"
	capNodeEdit Capability = "node:write"
	capAgent    Capability = "agent:read"
	capReadFS   Capability = "ns:read-fs"
)

func jobRoutes() []Route {
	return []Route{
		list("job.list", "/v1/jobs", "ns:list-jobs", ListNamespaced, "List jobs; meta=true adds their metadata."),
		write("job.register", "/v1/jobs", "ns:submit-job|register-job", "Register or update a job.").fromBody().limit(jobBody),
		write("job.parse", "/v1/jobs/parse", "ns:parse-job|submit-job", "Turn a job file into a job.").limit(parseBody).local().noMeta(),
		list("job.statuses", "/v1/jobs/statuses", capReadJob, ListModified, "List jobs with allocations and newest deployment; POST a body to choose some.").methods("GET", "POST").limit(defaultBody),
		write("job.validate", "/v1/validate/job", capReadJob, "List what is wrong with a job.").fromBody().limit(jobBody).noMeta(),
		read("job.read", "/v1/job/:id...", capReadJob, "Read a job."),
		write("job.update", "/v1/job/:id...", "ns:submit-job|register-job", "Register or update the job that the path names.").fromBody().limit(jobBody),
		write("job.stop", "/v1/job/:id...", "ns:submit-job|purge-job|deregister-job", "Stop a job; purge=true removes it.").methods("DELETE"),
		read("job.allocations", "/v1/job/:id.../allocations", capReadJob, "List the allocations of a job."),
		read("job.evaluations", "/v1/job/:id.../evaluations", capReadJob, "List the evaluations of a job."),
		read("job.deployments", "/v1/job/:id.../deployments", capReadJob, "List the deployments of a job."),
		read("job.deployment", "/v1/job/:id.../deployment", capReadJob, "Read the newest deployment of a job, null for none."),
		read("job.summary", "/v1/job/:id.../summary", capReadJob, "Count the allocations of a job."),
		read("job.versions", "/v1/job/:id.../versions", capReadJob, "List the versions of a job, newest first."),
		read("job.submission", "/v1/job/:id.../submission", capReadJob, "Read the source of a version."),
		read("job.scaleStatus", "/v1/job/:id.../scale", "ns:read-job|read-job-scaling", "Count the groups of a job."),
		read("job.services", "/v1/job/:id.../services", capReadJob, "List the services of a job."),
		read("job.actions", "/v1/job/:id.../actions", capReadJob, "List the actions of a job.").noBlock(),
		write("job.evaluate", "/v1/job/:id.../evaluate", "ns:submit-job|evaluate-job", "Make an evaluation of a job."),
		write("job.plan", "/v1/job/:id.../plan", "ns:submit-job|plan-job", "Say what a registration would do.").fromBody().limit(jobBody),
		write("job.periodicForce", "/v1/job/:id.../periodic/force", "ns:dispatch-job|submit-job|force-periodic-job", "Launch a periodic job now."),
		write("job.dispatch", "/v1/job/:id.../dispatch", "ns:dispatch-job", "Start a child of a parameterized job.").limit(dispatchBody),
		write("job.dispatchPayload", "/v1/job/:id.../dispatch/payload", "ns:dispatch-job", "As job.dispatch, the body being the payload.").limit(MaxPayload),
		write("job.revert", "/v1/job/:id.../revert", "ns:submit-job|revert-job", "Register an earlier version again."),
		write("job.tag", "/v1/job/:id.../versions/:name/tag", "ns:submit-job|tag-job-version", "Name a version, so that it is kept and can be told apart."),
		write("job.untag", "/v1/job/:id.../versions/:name/tag", "ns:submit-job|tag-job-version", "Remove the name of a version.").methods("DELETE"),
		write("job.stable", "/v1/job/:id.../stable", "ns:submit-job|stable-job", "Mark a version as stable or not."),
		write("job.scale", "/v1/job/:id.../scale", "ns:scale-job|submit-job", "Change the count of a group."),
	}
}

func allocRoutes() []Route {
	return []Route{
		list("alloc.list", "/v1/allocations", capReadJob, ListCreated, "List allocations; resources and task_states choose fields."),
		read("alloc.read", "/v1/allocation/:id", capReadJob, "Read an allocation with its job.").ofObject(),
		write("alloc.stop", "/v1/allocation/:id/stop", "ns:alloc-lifecycle", "Stop an allocation, so that another takes its place.").ofObject(),
		node("client.allocStats", "/v1/client/allocation/:id/stats", capReadJob, "What an allocation uses.").cors(),
		node("client.allocRestart", "/v1/client/allocation/:id/restart", "ns:alloc-lifecycle", "Restart tasks.").methods("PUT", "POST", "GET").limit(defaultBody).cors(),
		node("client.allocSignal", "/v1/client/allocation/:id/signal", "ns:alloc-lifecycle", "Signal tasks.").methods("PUT", "POST").limit(defaultBody).cors(),
		node("client.allocGC", "/v1/client/allocation/:id/gc", "ns:submit-job|gc-allocation", "Remove a finished allocation from its node.").methods("GET", "PUT", "POST").cors(),
		node("client.allocExec", "/v1/client/allocation/:id/exec", "ns:alloc-exec", "Run a command in a task.").as(AnswerWebsocket),
		node("client.jobAction", "/v1/job/:id.../action", "ns:alloc-exec", "Run an action of a job in one of its allocations.").as(AnswerWebsocket),
	}
}

func evalRoutes() []Route {
	return []Route{
		list("eval.list", "/v1/evaluations", capReadJob, ListCreated, "List evaluations; job and status are filters of their own."),
		write("eval.delete", "/v1/evaluations", "", "Remove evaluations by id or filter, while the broker is paused.").methods("DELETE").management(),
		list("eval.count", "/v1/evaluations/count", capReadJob, ListCreated, "Count evaluations."),
		read("eval.queues", "/v1/evaluations/queues", "operator:read", "Where the broker's evaluations stand: the first limit (100, at most 1000) of them, and how many there are.").noBlock().noMeta(),
		read("eval.read", "/v1/evaluation/:id", capReadJob, "Read an evaluation; related=true adds its relatives.").ofObject(),
		read("eval.allocations", "/v1/evaluation/:id/allocations", capReadJob, "List the allocations of an evaluation.").ofObject(),
		list("deployment.list", "/v1/deployments", capReadJob, ListCreated, "List deployments."),
		read("deployment.read", "/v1/deployment/:id", capReadJob, "Read a deployment.").ofObject(),
		read("deployment.allocations", "/v1/deployment/allocations/:id", capReadJob, "List the allocations of a deployment.").ofObject(),
		write("deployment.fail", "/v1/deployment/fail/:id", "ns:submit-job|fail-deployment", "End a deployment as failed.").ofObject(),
		write("deployment.pause", "/v1/deployment/pause/:id", "ns:submit-job|pause-deployment", "Pause a deployment, or let it go on.").ofObject(),
		write("deployment.promote", "/v1/deployment/promote/:id", "ns:submit-job|promote-deployment", "Promote canaries.").ofObject(),
		write("deployment.unblock", "/v1/deployment/unblock/:id", "ns:submit-job|unblock-deployment", "Let a deployment go on that waits for another region.").ofObject(),
		write("deployment.allocHealth", "/v1/deployment/allocation-health/:id", "ns:submit-job|set-alloc-health-deployment", "Set the health of allocations by hand.").ofObject(),
	}
}

func fsRoutes() []Route {
	return []Route{
		node("client.fsLs", "/v1/client/fs/ls/:id", capReadFS, "List a directory of an allocation.").noMeta().cors(),
		node("client.fsStat", "/v1/client/fs/stat/:id", capReadFS, "Describe a file of an allocation.").noMeta().cors(),
		node("client.fsCat", "/v1/client/fs/cat/:id", capReadFS, "Read a file of an allocation.").as(AnswerStream).cors(),
		node("client.allocSnapshot", "/v1/client/allocation/:id/snapshot", "", "What an allocation leaves to the next, as a tar archive; the token is that of a migration.").open().as(AnswerStream),
		node("client.fsReadAt", "/v1/client/fs/readat/:id", capReadFS, "Read a part of a file.").as(AnswerStream).cors(),
		node("client.fsStream", "/v1/client/fs/stream/:id", capReadFS, "Follow a file in frames.").as(AnswerStream).cors(),
		node("client.fsLogs", "/v1/client/fs/logs/:id", "ns:read-logs|read-fs", "Read or follow a task's log.").as(AnswerStream).cors(),
	}
}
