package config

import (
	"fmt"
	"path"
	"time"
)

// Template configures how templates are rendered. The rest of the contract's
// block belongs to Consul and Vault and is refused by name.
type Template struct {
	FunctionDenylist   []string      `hcl:"function_denylist"` // patterns, beside those that are always denied
	DisableFileSandbox bool          `hcl:"disable_file_sandbox"`
	BlockQueryWait     time.Duration `hcl:"block_query_wait"`
	Wait               TemplateWait  `hcl:"wait"`
	WaitBounds         TemplateWait  `hcl:"wait_bounds"`
	NomadRetry         TemplateRetry `hcl:"nomad_retry"`
}

// TemplateWait is how long changes are gathered: until nothing changed for Min,
// at the latest Max after the first. Zero is the default.
type TemplateWait struct {
	Min time.Duration `hcl:"min"`
	Max time.Duration `hcl:"max"`
}

// TemplateRetry is the pause after a question to the servers that failed.
type TemplateRetry struct {
	Attempts   int           `hcl:"attempts"`
	Backoff    time.Duration `hcl:"backoff"`
	MaxBackoff time.Duration `hcl:"max_backoff"`
}

// problems lists what is wrong with the settings.
func (t *Template) problems() (out []string) {
	bad := func(name string, format string, args ...any) {
		out = append(out, "client.template."+name+": "+fmt.Sprintf(format, args...))
	}
	for _, pattern := range t.FunctionDenylist {
		if _, err := path.Match(pattern, ""); err != nil {
			bad("function_denylist", "%q is no pattern", pattern)
		}
	}
	if t.DisableFileSandbox {
		bad("disable_file_sandbox", "templates read files of their own task alone: remove it, and give the task the file as an artifact (client.artifact.local_paths)")
	}
	if t.NomadRetry.Attempts != 0 {
		bad("nomad_retry.attempts", "templates ask until the servers answer, and no task ends because they are away: remove it, or set it to 0")
	}
	for name, d := range map[string]time.Duration{
		"block_query_wait": t.BlockQueryWait, "wait.min": t.Wait.Min, "wait.max": t.Wait.Max, "wait_bounds.min": t.WaitBounds.Min, "wait_bounds.max": t.WaitBounds.Max,
		"nomad_retry.backoff": t.NomadRetry.Backoff, "nomad_retry.max_backoff": t.NomadRetry.MaxBackoff,
	} {
		if d < 0 {
			bad(name, "must not be below 0")
		}
	}
	for name, w := range map[string]TemplateWait{"wait": t.Wait, "wait_bounds": t.WaitBounds} {
		if w.Max > 0 && w.Min > w.Max {
			bad(name, "min %v is longer than max %v", w.Min, w.Max)
		}
	}
	return out
}
