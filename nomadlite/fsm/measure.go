package fsm

import "strings"

// contractNames are commands whose measure is called otherwise than they are.
var contractNames = map[Type]string{
	JobRegister: "register_job", JobDeregister: "deregister_job", JobStability: "apply_job_stability", JobTag: "apply_job_version_tag",
	EvalUpsert: "update_eval", EvalDelete: "delete_eval", PlanApply: "apply_plan_results",
	AllocReports: "alloc_client_update", AllocTransition: "alloc_update_desired_transition",
	NodeRegister: "register_node", NodeStatus: "node_status_update", NodeEligibility: "node_eligibility_update", NodeDrain: "node_drain_update", NodeDelete: "deregister_node",
	DeploymentStatus: "apply_deployment_status_update", DeploymentPromote: "apply_deployment_promotion", DeploymentAllocHealth: "apply_deployment_alloc_health",
	SchedulerConfig: "apply_scheduler_config",
}

// measureKeys are the names of the commands' measures.
var measureKeys = func() map[Type][]string {
	out := map[Type][]string{}
	for t, c := range commands {
		name := contractNames[t]
		if name == "" {
			name = snake(c.name)
		}
		out[t] = []string{"nomad", "fsm", name}
	}
	return out
}()

// snake is "ServiceDelete" as "service_delete".
func snake(name string) string {
	var b strings.Builder
	for i, r := range name {
		if r >= 'A' && r <= 'Z' {
			if i > 0 {
				b.WriteByte('_')
			}
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}
