package command

// groups are the words that verbs share, with what they are about.
var groups = map[string]string{
	"alloc":    "Allocations: status, logs, files, exec",
	"config":   "Agent configuration files",
	"eval":     "Evaluations: what the scheduler decided, and why",
	"job":      "Jobs: run, plan, status, stop",
	"node":     "Nodes: status, eligibility",
	"operator": "Operators' tools",
	"server":   "Servers and their members",
	"system":   "The cluster as a whole",
}

// verbs makes the table of all verbs, each with fresh options.
func verbs() []*verb {
	return []*verb{
		agentVerb(),
		allocExecVerb(),
		allocFSVerb(),
		allocLogsVerb(),
		allocRestartVerb(),
		allocSignalVerb(),
		allocStatusVerb(),
		allocStopVerb(),
		configValidateVerb(),
		evalListVerb(),
		evalStatusVerb(),
		jobAllocsVerb(),
		jobEvalVerb(),
		jobHistoryVerb(),
		jobInitVerb(),
		jobInspectVerb(),
		jobPeriodicForceVerb(),
		jobPlanVerb(),
		jobRestartVerb(),
		jobRunVerb(),
		jobScaleVerb(),
		jobStatusVerb(),
		jobStopVerb(),
		jobValidateVerb(),
		monitorVerb(),
		nodeEligibilityVerb(),
		nodeStatusVerb(),
		raftListPeersVerb(),
		serverMembersVerb(),
		statusVerb(),
		systemGCVerb(),
		versionVerb(),
	}
}
