// Package jobspec turns job files (HCL2, HCL as JSON, or the API's JSON) into
// structs.Job.
//
// One generic decoder reads the hcl tags of package structs: a new field of a
// noun needs a tag and nothing here. What the job file offers beyond its nouns
// (shorthands, parse-time defaults) is a small table of hooks by type. Names
// that are neither var, local nor an iterator are left in the text as ${...}
// for the client to fill in.
//
// The result is not canonicalized. The package knows nothing of servers,
// HTTP or the command line.
package jobspec

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/json"

	"github.com/nomadlite/nomadlite/structs"
)

// VarFile is the content of a file of variable values.
type VarFile struct {
	Path    string // for messages; a name ending in .json selects JSON
	Content []byte
}

// ParseConfig says what to parse and with which variables.
type ParseConfig struct {
	// Path is the file's name in diagnostics, such as "web.nomad.hcl".
	Path   string
	Source []byte
	// Env is the environment as of os.Environ; NOMAD_VAR_name gives values.
	Env []string
	// VarFiles are applied in order, over Env; then VarContent, which has the
	// same form; then Vars, each "name=value".
	VarFiles   []VarFile
	VarContent string
	Vars       []string
	// Strict makes values for undeclared variables an error.
	Strict bool
	// AllowFS enables the file functions; relative paths start at BaseDir, or
	// at the working directory when it is empty.
	AllowFS bool
	BaseDir string
	// Warn is told of what is odd but not wrong; it may be nil.
	Warn func(text string)

	whole int // bodies up to this size are parsed at once; 0 is the default
}

// Error is everything that is wrong with a job file. Its text has one line a
// problem: "file:line,col-col: Summary; Detail".
type Error struct {
	Diagnostics hcl.Diagnostics
}

// maxReported bounds how many problems are printed.
const maxReported = 100

// Error implements error.
func (e *Error) Error() string {
	var lines []string
	for _, d := range e.Diagnostics {
		if d.Severity != hcl.DiagError {
			continue
		}
		if len(lines) == maxReported {
			lines = append(lines, fmt.Sprintf("and more problems: the first %d are shown", maxReported))
			break
		}
		lines = append(lines, d.Error())
	}
	return strings.Join(lines, "\n")
}

// Parse reads a job file. An error is of kind structs.Invalid and holds an
// *Error with every problem found.
func Parse(cfg ParseConfig) (*structs.Job, error) {
	p := &parser{cfg: cfg}
	job, diags := p.parse()
	if diags.HasErrors() {
		return nil, invalid(diags)
	}
	return job, nil
}

// invalid makes the error of a parse, its problems in the order of the source.
func invalid(diags hcl.Diagnostics) error {
	slices.SortStableFunc(diags, func(a, b *hcl.Diagnostic) int {
		if a.Subject == nil || b.Subject == nil {
			return 0
		}
		return cmp.Or(
			strings.Compare(a.Subject.Filename, b.Subject.Filename),
			cmp.Compare(a.Subject.Start.Line, b.Subject.Start.Line),
			cmp.Compare(a.Subject.Start.Column, b.Subject.Start.Column))
	})
	err := &Error{Diagnostics: diags}
	return &structs.Error{Kind: structs.Invalid, Text: err.Error(), Err: err}
}

// IsJSON reports whether source is read as HCL's JSON syntax: its first byte
// that is not a space is a brace.
func IsJSON(source []byte) bool {
	trimmed := bytes.TrimLeft(source, " ")
	return len(trimmed) > 0 && trimmed[0] == '{'
}

// parser holds the state of one Parse.
type parser struct {
	cfg  ParseConfig
	eval *evaluator
}

var rootSchema = &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{
	{Type: "variables"},
	{Type: "variable", LabelNames: []string{"name"}},
	{Type: "locals"},
	{Type: "job", LabelNames: []string{"name"}},
}}

func (p *parser) parse() (*structs.Job, hcl.Diagnostics) {
	p.cfg.Source = withoutBOM(p.cfg.Source)
	if p.cfg.whole == 0 {
		p.cfg.whole = wholeSize
	}
	body, diags := parseBody(p.cfg.Source, p.cfg.Path, IsJSON(p.cfg.Source), p.cfg.whole)
	if diags.HasErrors() {
		return nil, diags
	}
	job, diags := p.decode(body)
	if large, ok := body.(*pieces); ok && large.text.syntax.HasErrors() {
		return nil, large.text.syntax
	}
	return job, diags
}

func (p *parser) decode(body hcl.Body) (*structs.Job, hcl.Diagnostics) {
	content, diags := body.Content(rootSchema)
	p.eval = newEvaluator(p.cfg)
	p.eval.sources[p.cfg.Path] = p.cfg.Source

	blocks := content.Blocks.ByType()
	job, more := singleJob(blocks["job"], body)
	if job != nil || !diags.HasErrors() {
		diags = append(diags, more...)
	}

	variables, more := p.declareVariables(content.Blocks)
	diags = append(diags, more...)
	diags = append(diags, p.assignVariables(variables)...)
	locals, more := collectLocals(blocks["locals"])
	diags = append(diags, more...)
	if diags.HasErrors() {
		return nil, diags
	}
	diags = append(diags, p.eval.defineVariables(variables)...)
	if diags.HasErrors() {
		return nil, diags
	}
	diags = append(diags, p.eval.defineLocals(locals)...)
	if diags.HasErrors() {
		return nil, diags
	}
	result := &structs.Job{}
	dec := &decoder{eval: p.eval}
	diags = append(diags, dec.job(job, result)...)
	return result, append(diags, p.eval.meter.diagnostics()...)
}

func withoutBOM(source []byte) []byte {
	return bytes.TrimPrefix(source, []byte("\xef\xbb\xbf"))
}

// parseBody checks the limits of a source and parses its syntax, unless it is
// larger than whole and not JSON.
func parseBody(source []byte, name string, isJSON bool, whole int) (hcl.Body, hcl.Diagnostics) {
	tokens := maxTokens
	if isJSON {
		tokens = maxWhole // it cannot be parsed in pieces
	}
	if diags := checkSource(source, name, isJSON, tokens); diags.HasErrors() {
		return nil, diags
	}
	if !isJSON && len(source) > whole {
		return newPieces(source, name, whole), nil
	}
	var file *hcl.File
	var diags hcl.Diagnostics
	if isJSON {
		file, diags = json.Parse(source, name)
	} else {
		file, diags = hclsyntax.ParseConfig(source, name, hcl.InitialPos)
	}
	if file == nil {
		return nil, diags
	}
	return file.Body, diags
}

func singleJob(blocks hcl.Blocks, body hcl.Body) (*hcl.Block, hcl.Diagnostics) {
	if len(blocks) == 0 {
		return nil, hcl.Diagnostics{{
			Severity: hcl.DiagError,
			Summary:  "Missing job block",
			Detail:   "A job block is required.",
			Subject:  body.MissingItemRange().Ptr(),
		}}
	}
	var diags hcl.Diagnostics
	for _, b := range blocks[1:] {
		diags = append(diags, duplicateBlock("job", b.DefRange, blocks[0].DefRange))
	}
	return blocks[0], diags
}

func duplicateBlock(kind string, at, first hcl.Range) *hcl.Diagnostic {
	return &hcl.Diagnostic{
		Severity: hcl.DiagError,
		Summary:  fmt.Sprintf("Duplicate %s block", kind),
		Detail:   fmt.Sprintf("Only one %s block is allowed. Another was defined at %s.", kind, first),
		Subject:  at.Ptr(),
	}
}

// problem makes an error diagnostic.
func problem(at hcl.Range, summary, format string, args ...any) *hcl.Diagnostic {
	return &hcl.Diagnostic{
		Severity: hcl.DiagError,
		Summary:  summary,
		Detail:   fmt.Sprintf(format, args...),
		Subject:  at.Ptr(),
	}
}
