package api

const capVariables = "ns:variables"

// variableBody bounds a variable's JSON: 64 KiB of items, escaped.
const variableBody = 512 << 10

func variableRoutes() []Route {
	return []Route{
		list("variable.list", "/v1/vars", capVariables, ListNamespaced, "List variables, without their items.").filtered().cors(),
		read("variable.read", "/v1/var/:path...", capVariables, "Read a variable with its items.").cors(),
		write("variable.set", "/v1/var/:path...", capVariables, "Write a variable; cas makes it conditional, 409 answers what is stored.").limit(variableBody).cors(),
		write("variable.delete", "/v1/var/:path...", capVariables, "Remove a variable; cas makes it conditional.").methods("DELETE").cors(),
		read("keyring.list", "/v1/operator/keyring/keys", "operator:keyring-read", "List the root keys, without their secrets."),
		write("keyring.rotate", "/v1/operator/keyring/rotate", "operator:keyring-rotate", "Make a new root key: at once, or at publish_time; full encrypts all variables again."),
		write("keyring.delete", "/v1/operator/keyring/key/:id", "operator:keyring-delete", "Remove a root key that nothing needs; force removes one that encrypts variables.").methods("DELETE"),
	}
}
