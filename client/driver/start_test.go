package driver

import (
	"slices"
	"testing"
)

// TestWithoutSecrets: plugins do not learn what the agent authenticates with,
// and see the rest.
func TestWithoutSecrets(t *testing.T) {
	keep := []string{"PATH=/bin", "NOMAD_ADDR=http://x", "NOMAD_REGION=global", "AWS_SECRET_ACCESS_KEY=helper's", "DOCKER_HOST=tcp://x", "VAULT_ADDR=x", "odd"}
	drop := []string{"NOMAD_TOKEN=a", "NOMAD_CLIENT_INTRO_TOKEN=a", "VAULT_TOKEN=b", "CONSUL_HTTP_TOKEN=c", "CONSUL_HTTP_AUTH=d", "NOMAD_CLIENT_KEY=e", "NOMADLITE_SECRET=f"}
	if got := withoutSecrets(slices.Concat(drop[:3], keep, drop[3:])); !slices.Equal(got, keep) {
		t.Errorf("%q, want %q", got, keep)
	}
}
