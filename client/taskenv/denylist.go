package taskenv

import (
	"slices"
	"strings"
)

// hostDenied are the agent's variables that no task sees: credentials of what
// the agent itself talks to.
var hostDenied = []string{
	"CONSUL_TOKEN", "CONSUL_HTTP_TOKEN", "CONSUL_HTTP_TOKEN_FILE", "NOMAD_TOKEN", "VAULT_TOKEN",
	"CONSUL_LICENSE", "CONSUL_LICENSE_PATH", "NOMAD_LICENSE", "NOMAD_LICENSE_PATH", "VAULT_LICENSE", "VAULT_LICENSE_PATH",
	"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_METADATA_URL",
	"GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_OAUTH_ACCESS_TOKEN", "SSH_AUTH_SOCK",
}

// denied reports whether a variable of the agent is kept from tasks. By
// default these are the names above and all that are named like a secret; a
// list of the operator's own replaces both.
func denied(name string, list []string) bool {
	if list != nil {
		return slices.Contains(list, name)
	}
	upper := strings.ToUpper(name)
	return slices.Contains(hostDenied, upper) || strings.HasSuffix(upper, "_TOKEN") ||
		strings.Contains(upper, "_SECRET") || strings.HasSuffix(upper, "_PASSWORD")
}
