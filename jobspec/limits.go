package jobspec

import (
	"bytes"

	"github.com/hashicorp/hcl/v2"
)

// Limits of one source, checked before the HCL parser sees it, because its
// recursion and its token list grow with the input.
const (
	MaxSourceSize = 10 << 20 // bytes
	maxDepth      = 200      // brackets, quotes and templates inside each other
	maxOperators  = 1000     // operators of one expression
	maxTokens     = 640_000
)

// checkSource finds sources that are too large, too deep or too long-winded to
// parse in bounded memory. It follows strings, heredocs, comments and templates
// closely enough that no harmless file is refused.
func checkSource(source []byte, name string, isJSON bool) hcl.Diagnostics {
	if len(source) > MaxSourceSize {
		return tooMuch(name, 1, "Source is too large", "The file has more than 10 MiB.")
	}
	s := &scanner{source: source, line: 1, json: isJSON}
	s.push(0)
	for s.pos < len(s.source) {
		if !s.step() {
			break
		}
	}
	switch {
	case len(s.frames) > maxDepth:
		return tooMuch(name, s.line, "Nesting is too deep", "Blocks, lists, objects and templates may be nested up to 200 levels.")
	case s.tokens > maxTokens:
		return tooMuch(name, s.line, "Source has too many parts", "The file has more than 640,000 words and signs: split the job, or generate lists with for expressions.")
	case s.operators > maxOperators:
		return tooMuch(name, s.line, "Expression is too long", "An expression may have up to 1000 operators.")
	}
	return nil
}

func tooMuch(name string, line int, summary, detail string) hcl.Diagnostics {
	at := hcl.Pos{Line: line, Column: 1}
	return hcl.Diagnostics{problem(hcl.Range{Filename: name, Start: at, End: at}, summary, "%s", detail)}
}

// frame is one open bracket, string or template.
type frame struct {
	close     byte   // ')', ']', '}', '"', or 0 for the top and heredocs
	marker    []byte // of a heredoc
	operators int
}

// scanner walks a source and counts what limits are about.
type scanner struct {
	source    []byte
	pos       int
	line      int
	json      bool
	frames    []frame
	tokens    int
	operators int // the most of any frame
}

func (s *scanner) push(closer byte) { s.frames = append(s.frames, frame{close: closer}) }

func (s *scanner) pop() {
	if len(s.frames) > 1 {
		s.frames = s.frames[:len(s.frames)-1]
	}
	s.operator()
}

func (s *scanner) top() *frame { return &s.frames[len(s.frames)-1] }

func (s *scanner) operator() {
	f := s.top()
	f.operators++
	s.operators = max(s.operators, f.operators)
}

// step consumes something and reports whether all limits still hold.
func (s *scanner) step() bool {
	switch f := s.top(); {
	case f.marker != nil:
		s.heredocLine()
	case f.close == '"':
		s.quoted()
	default:
		s.code()
	}
	return len(s.frames) <= maxDepth && s.tokens <= maxTokens && s.operators <= maxOperators
}

func (s *scanner) rest() []byte { return s.source[s.pos:] }

// template enters ${ or %{ at the current position, if one stands there.
func (s *scanner) template() bool {
	r := s.rest()
	if s.json || len(r) < 2 || r[1] != '{' || r[0] != '$' && r[0] != '%' {
		return false
	}
	if s.pos > 0 && s.source[s.pos-1] == r[0] {
		return false // escaped: $${ or %%{
	}
	if r[0] == '%' {
		s.operator()
	}
	s.pos += 2
	s.tokens += 2
	s.push('}')
	return true
}

func (s *scanner) quoted() {
	switch c := s.source[s.pos]; {
	case c == '\\':
		s.pos += 2
	case c == '"':
		s.pos++
		s.tokens += 2
		s.pop()
	case s.template():
	default:
		if c == '\n' {
			s.line++
			if !s.json {
				s.pop() // an unclosed string, which the parser reports
			}
		}
		s.pos++
	}
}

// heredocLine consumes up to the next template, or the rest of the line.
func (s *scanner) heredocLine() {
	r := s.rest()
	if s.pos == 0 || s.source[s.pos-1] == '\n' {
		end := bytes.IndexByte(r, '\n')
		if end < 0 {
			end = len(r)
		}
		if bytes.Equal(bytes.TrimSpace(r[:end]), s.top().marker) {
			s.pos += end
			s.pop()
			return
		}
		s.tokens++
	}
	for s.pos < len(s.source) {
		if s.template() {
			return
		}
		c := s.source[s.pos]
		s.pos++
		if c == '\n' {
			s.line++
			return
		}
	}
}

func (s *scanner) code() {
	c := s.source[s.pos]
	switch {
	case c == '\n':
		s.newline()
	case c == ' ' || c == '\t' || c == '\r':
		s.pos++
	case c == '#' || bytes.HasPrefix(s.rest(), []byte("//")):
		s.skipTo("\n")
	case bytes.HasPrefix(s.rest(), []byte("/*")):
		s.skipTo("*/")
	case bytes.HasPrefix(s.rest(), []byte("<<")) && s.heredoc():
	case word(c):
		for s.pos < len(s.source) && word(s.source[s.pos]) {
			s.pos++
		}
		s.tokens++
	default:
		s.sign(c)
	}
}

func (s *scanner) newline() {
	s.pos++
	s.line++
	s.tokens++
	if f := s.top(); f.close == 0 || f.close == '}' && !s.inTemplate() {
		f.operators = 0
	}
}

// inTemplate reports whether the innermost brace was opened by a template.
func (s *scanner) inTemplate() bool {
	below := s.frames[max(0, len(s.frames)-2)]
	return below.close == '"' || below.marker != nil
}

func (s *scanner) sign(c byte) {
	s.pos++
	s.tokens++
	switch c {
	case '"', '{', '[', '(':
		s.push(map[byte]byte{'"': '"', '{': '}', '[': ']', '(': ')'}[c])
	case '}', ']', ')':
		s.pop()
	case ',':
		s.top().operators = 0
	case '!', '-', '+', '*', '/', '%', '<', '>', '=', '&', '|', '?', ':':
		s.operator()
	}
}

func (s *scanner) skipTo(end string) {
	r := s.rest()
	n := bytes.Index(r, []byte(end))
	if n < 0 {
		n = len(r)
	} else if end != "\n" {
		n += len(end)
	}
	s.line += bytes.Count(r[:n], []byte("\n"))
	s.pos += n
	s.tokens++
}

// heredoc enters a heredoc when "<<" begins one.
func (s *scanner) heredoc() bool {
	r := s.rest()
	end := bytes.IndexByte(r, '\n')
	if s.json || end < 0 {
		return false
	}
	marker := bytes.TrimRight(bytes.TrimPrefix(r[2:end], []byte("-")), "\r")
	if len(marker) == 0 {
		return false
	}
	for _, c := range marker {
		if !word(c) {
			return false
		}
	}
	s.pos += end + 1
	s.line++
	s.tokens += 2
	s.push(0)
	s.top().marker = marker
	return true
}

// word reports whether c may stand in a name or number.
func word(c byte) bool {
	return c == '_' || c == '.' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}
