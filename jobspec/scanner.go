package jobspec

import "bytes"

// frame is one open bracket, string or template.
type frame struct {
	close     byte   // ')', ']', '}', '"', or 0 for the top and heredocs
	marker    []byte // of a heredoc
	line      int    // where it was opened
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

func newScanner(source []byte, line int, isJSON bool) *scanner {
	s := &scanner{source: source, line: line, json: isJSON}
	s.push(0)
	return s
}

func (s *scanner) push(closer byte) { s.frames = append(s.frames, frame{close: closer, line: s.line}) }

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

// step consumes something.
func (s *scanner) step() {
	switch f := s.top(); {
	case f.marker != nil:
		s.heredocLine()
	case f.close == '"':
		s.quoted()
	default:
		s.code()
	}
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
	case '"':
		s.push('"')
	case '{':
		s.push('}')
	case '[':
		s.push(']')
	case '(':
		s.push(')')
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
