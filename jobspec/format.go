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
	if diags := checkSource(source, path, false, maxTokens); diags.HasErrors() {
		return nil, invalid(diags)
	}
	if _, diags := hclsyntax.ParseConfig(source, path, hcl.InitialPos); diags.HasErrors() {
		return nil, invalid(diags)
	}
	return keepBlanks(source, hclwrite.Format(source)), nil
}

// keepBlanks gives the templates of a formatted source the blanks beside their
// markers back: the text of ${ name } is part of a job's meaning.
func keepBlanks(source, formatted []byte) []byte {
	blanks := markerBlanks(source)
	now := markerBlanks(formatted)
	if len(blanks) != len(now) {
		return formatted
	}
	var out []byte
	last := 0
	for i, b := range now {
		out = append(out, formatted[last:b.start]...)
		out = append(out, source[blanks[i].start:blanks[i].end]...)
		last = b.end
	}
	return append(out, formatted[last:]...)
}

// span is a piece of a source, in bytes.
type span struct{ start, end int }

// markerBlanks lists the blanks after each "${" and before its "}".
func markerBlanks(source []byte) []span {
	tokens, _ := hclsyntax.LexConfig(source, "", hcl.InitialPos)
	var list []span
	for i, t := range tokens {
		switch {
		case t.Type == hclsyntax.TokenTemplateInterp && i+1 < len(tokens):
			list = append(list, span{t.Range.End.Byte, tokens[i+1].Range.Start.Byte})
		case t.Type == hclsyntax.TokenTemplateSeqEnd && i > 0:
			list = append(list, span{tokens[i-1].Range.End.Byte, t.Range.Start.Byte})
		}
	}
	return list
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
