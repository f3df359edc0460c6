package api

const capReadPolicies = "ns:list-scaling-policies|read-job"

func serviceRoutes() []Route {
	return []Route{
		list("scaling.policies", "/v1/scaling/policies", capReadPolicies, ListNamespaced, "List the scaling policies of jobs, of one job or type."),
		read("scaling.policy", "/v1/scaling/policy/:id", "ns:read-scaling-policy|read-job", "Read a scaling policy.").ofObject(),
		list("service.list", "/v1/services", capReadJob, ListNamespaced, "List the names of services with their tags."),
		list("service.read", "/v1/service/:name", capReadJob, ListName, "List the instances of a service; choose=<number>|<key> picks some, healthy=true those whose checks pass.").inNamespace(),
		write("service.delete", "/v1/service/:name/:id", "ns:submit-job|delete-service-registration", "Remove the registration of an instance.").methods("DELETE").as(AnswerEmpty),
		read("alloc.services", "/v1/allocation/:id/services", capReadJob, "List what an allocation offers.").ofObject(),
		node("client.allocChecks", "/v1/client/allocation/:id/checks", capReadJob, "What the checks of an allocation's services say.").cors(),
		read("identity.keys", "/.well-known/jwks.json", "", "The keys that verify workload identities.").open(),
		read("identity.discovery", "/.well-known/openid-configuration", "", "OIDC discovery; needs the server setting oidc_issuer.").open().noBlock(),
		node("client.checks", "/v1/allocation/:id/checks", capReadJob, "As client.allocChecks."),
	}
}
