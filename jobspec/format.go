package jobspec

import (
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"

	"github.com/nomadlite/nomadlite/structs"
)

// Format lays out a job file in the canonical style: blanks and alignment
// change, the meaning does not. Text with syntax errors is refused with an
// *Error; path names it in messages. Format is idempotent.
func Format(path string, source []byte) ([]byte, error) {
	if diags := checkSource(source, path, false); diags.HasErrors() {
		return nil, invalid(diags)
	}
	if _, diags := hclsyntax.ParseConfig(source, path, hcl.InitialPos); diags.HasErrors() {
		return nil, invalid(diags)
	}
	return hclwrite.Format(source), nil
}

// Submission is what a server keeps of the source of a job, so that it can be
// shown and run again: -var values that are plain stay flags, all others are
// joined with the files of values into one text of assignments.
func Submission(cfg ParseConfig) *structs.JobSubmission {
	s := &structs.JobSubmission{Source: string(cfg.Source), Format: "hcl2", VariableFlags: map[string]string{}}
	var text []string
	for _, f := range cfg.VarFiles {
		text = append(text, strings.TrimSpace(string(f.Content)))
	}
	if cfg.VarContent != "" {
		text = append(text, cfg.VarContent)
	}
	given := cfg.Vars
	for _, entry := range cfg.Env {
		if rest, ok := strings.CutPrefix(entry, EnvPrefix); ok {
			given = append([]string{rest}, given...)
		}
	}
	for _, entry := range given {
		name, raw, _ := strings.Cut(entry, "=")
		if value := strings.TrimSpace(raw); strings.HasPrefix(value, "[") || strings.HasPrefix(value, "{") {
			text = append(text, name+" = "+value)
			continue
		}
		s.VariableFlags[name] = raw
	}
	s.Variables = strings.Join(text, "\n")
	return s
}
