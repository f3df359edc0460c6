package jobspec

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// The HCL parser holds all tokens and the whole tree of a source at once: some
// 200 bytes a token, a hundred times the file. Bodies of large sources are
// therefore parsed in pieces, and the bodies of their blocks only when they are
// decoded, after which nothing refers to their tree.

// wholeSize is up to how many bytes a body is parsed at once; pieceSize is
// about how many bytes of a larger one are.
const (
	wholeSize = 8 << 10
	pieceSize = 2 << 10
)

// text is a source that is parsed in pieces.
type text struct {
	name   string
	source []byte
	whole  int             // bodies up to this size are parsed at once
	syntax hcl.Diagnostics // what was wrong with the pieces so far
	held   int             // words and signs of what had to be parsed at once
	blocks int             // headers read so far
}

// tooMuch notes that the text is beyond a limit.
func (t *text) tooMuch(line int, summary, format string, args ...any) {
	t.syntax = append(t.syntax, tooMuch(t.name, line, summary, fmt.Sprintf(format, args...))...)
}

// pieces is a body of a text whose tree does not exist yet. Each call of its
// methods parses anew.
type pieces struct {
	text     *text
	start    hcl.Pos // behind the opening brace
	end      int     // byte of the closing brace
	srcRange hcl.Range
}

func newPieces(source []byte, name string, whole int) *pieces {
	return &pieces{
		text: &text{name: name, source: source, whole: whole}, start: hcl.InitialPos, end: len(source),
		srcRange: hcl.Range{Filename: name, Start: hcl.InitialPos, End: hcl.InitialPos},
	}
}

// Content implements hcl.Body.
func (p *pieces) Content(schema *hcl.BodySchema) (*hcl.BodyContent, hcl.Diagnostics) {
	body, later, diags := p.parse(known(schema))
	content, more := limited(body, schema).Content(schema)
	if content != nil {
		put(content.Blocks, later)
	}
	return content, append(diags, more...)
}

// PartialContent implements hcl.Body.
func (p *pieces) PartialContent(schema *hcl.BodySchema) (*hcl.BodyContent, hcl.Body, hcl.Diagnostics) {
	body, diags := p.all()
	content, rest, more := body.PartialContent(schema)
	return content, rest, append(diags, more...)
}

// JustAttributes implements hcl.Body.
func (p *pieces) JustAttributes() (hcl.Attributes, hcl.Diagnostics) {
	body, diags := p.all()
	attrs, more := body.JustAttributes()
	return attrs, append(diags, more...)
}

// MissingItemRange implements hcl.Body.
func (p *pieces) MissingItemRange() hcl.Range {
	return hcl.Range{Filename: p.text.name, Start: p.srcRange.Start, End: p.srcRange.Start}
}

// all parses the body with everything inside.
func (p *pieces) all() (*hclsyntax.Body, hcl.Diagnostics) {
	body, _, diags := p.parse(nil)
	return body, diags
}

// parse makes the body's tree. With the names that the body may have, the
// bodies of its blocks are empty where later holds what they will be, and it
// ends after so many other names that no more need to be told.
func (p *pieces) parse(known map[string]bool) (*hclsyntax.Body, map[hcl.Body]*pieces, hcl.Diagnostics) {
	t := p.text
	before := len(t.syntax)
	var body *hclsyntax.Body
	var later map[hcl.Body]*pieces
	if p.end-p.start.Byte <= t.whole {
		body = t.piece(p.start, p.end)
	} else {
		body, later = t.parse(p, known)
	}
	body.SrcRange = p.srcRange
	return body, later, slices.Clone(t.syntax[before:])
}

func (t *text) parse(p *pieces, known map[string]bool) (*hclsyntax.Body, map[hcl.Body]*pieces) {
	body := &hclsyntax.Body{Attributes: hclsyntax.Attributes{}}
	later := map[hcl.Body]*pieces{}
	next := 0 // the first item that is not parsed yet
	items := split(t.source, p.start.Byte, p.end, p.start.Line)
	flush := func(upto int) {
		if next < upto {
			t.merge(body, t.piece(items[next].pos(p.start), items[upto-1].end))
		}
		next = upto
	}
	strangers := 0
	for i, item := range items {
		if name := item.name(t.source); known != nil && name != "" && !known[name] {
			strangers++
		}
		postponed := item.open > 0 && known != nil
		if len(t.syntax) > maxProblems || strangers > maxProblems || !postponed && !t.hold(item, known == nil) {
			flush(i)
			break
		}
		switch {
		case postponed:
			flush(i)
			if !t.header(body, later, item, item.pos(p.start)) {
				return body, later
			}
			next = i + 1
		case item.end-items[next].start >= pieceSize:
			flush(i + 1)
		}
		if i == len(items)-1 {
			flush(i + 1)
		}
	}
	return body, later
}

// hold counts what must be in memory at once, and reports whether it may.
func (t *text) hold(item item, deep bool) bool {
	if deep {
		t.held += item.tokens
	}
	if max(item.tokens, t.held) <= maxWhole {
		return true
	}
	t.tooMuch(item.line, "Argument or block is too long",
		"An argument, and a block of free form, may have up to %d words and signs: split it, or generate it with for expressions.", maxWhole)
	return false
}

// piece parses a part of the text that holds whole items.
func (t *text) piece(start hcl.Pos, end int) *hclsyntax.Body {
	file, diags := hclsyntax.ParseConfig(t.source[start.Byte:end], t.name, start)
	t.syntax = append(t.syntax, diags...)
	return file.Body.(*hclsyntax.Body)
}

// header reads a block without its body, which is left for later, and reports
// whether there may be more blocks.
func (t *text) header(body *hclsyntax.Body, later map[hcl.Body]*pieces, item item, start hcl.Pos) bool {
	if t.blocks++; t.blocks > maxBlocks {
		t.tooMuch(item.line, "Too many blocks", "A job may have up to %d blocks.", maxBlocks)
		return false
	}
	b := t.plainHeader(item, start)
	if b == nil {
		head := append(bytes.Clone(t.source[start.Byte:item.open+1]), '}')
		file, diags := hclsyntax.ParseConfig(head, t.name, start)
		t.syntax = append(t.syntax, diags...)
		parsed := file.Body.(*hclsyntax.Body)
		if len(parsed.Blocks) != 1 {
			return true
		}
		b = parsed.Blocks[0]
	}
	body.Blocks = append(body.Blocks, b)
	later[b.Body] = &pieces{text: t, start: b.OpenBraceRange.End, end: item.close, srcRange: b.Body.SrcRange}
	return true
}

var plainHead = regexp.MustCompile(`^[ \t]*([A-Za-z_][A-Za-z0-9_-]*)((?:[ \t]+(?:"[A-Za-z0-9_. /-]*"|[A-Za-z_][A-Za-z0-9_-]*))*)[ \t]*\{$`)

var plainLabel = regexp.MustCompile(`"[^"]*"|[^ \t]+`)

// plainHeader reads a header in one line without escapes, as nearly all are; nil
// for any other.
func (t *text) plainHeader(item item, start hcl.Pos) *hclsyntax.Block {
	m := plainHead.FindSubmatchIndex(t.source[start.Byte : item.open+1])
	if m == nil {
		return nil
	}
	at := func(from, to int) hcl.Range {
		pos := func(n int) hcl.Pos {
			return hcl.Pos{Line: start.Line, Column: start.Column + n, Byte: start.Byte + n}
		}
		return hcl.Range{Filename: t.name, Start: pos(from), End: pos(to)}
	}
	part := func(from, to int) string { return string(t.source[start.Byte+from : start.Byte+to]) }
	open := at(m[1]-1, m[1])
	b := &hclsyntax.Block{Type: part(m[2], m[3]), TypeRange: at(m[2], m[3]), OpenBraceRange: open, CloseBraceRange: open,
		Body: &hclsyntax.Body{SrcRange: open, EndRange: open}}
	for _, l := range plainLabel.FindAllStringIndex(part(m[4], m[5]), -1) {
		from, to := m[4]+l[0], m[4]+l[1]
		b.LabelRanges = append(b.LabelRanges, at(from, to))
		b.Labels = append(b.Labels, strings.Trim(part(from, to), `"`))
	}
	return b
}

// merge adds the items of a piece to a body, with what the parser would say of
// arguments that are there already.
func (t *text) merge(into, piece *hclsyntax.Body) {
	for _, name := range sortedKeys(piece.Attributes) {
		attr := piece.Attributes[name]
		if first := into.Attributes[name]; first != nil {
			t.syntax = append(t.syntax, problem(attr.NameRange, "Attribute redefined",
				"The argument %q was already set at %s. Each argument may be set only once.", name, first.NameRange))
			continue
		}
		into.Attributes[name] = attr
	}
	into.Blocks = append(into.Blocks, piece.Blocks...)
}

// item is an argument or a block of a body, or text that is neither.
type item struct {
	start, end  int // bytes, from the beginning of its first line to behind its last newline
	line        int // where it begins
	named       int // the byte of its first word, if it begins with one
	open, close int // the braces of a block in the usual layout, else 0
	tokens      int
}

// pos is where the item begins; only the first of a body may begin inside a line.
func (it item) pos(body hcl.Pos) hcl.Pos {
	if it.start == body.Byte {
		return body
	}
	return hcl.Pos{Line: it.line, Column: 1, Byte: it.start}
}

// name is the first word of the item, "" if it does not begin with one.
func (it item) name(source []byte) string {
	return string(nameStart.Find(source[it.named:it.end]))
}

var nameStart = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*`)

// known is the names of a schema.
func known(schema *hcl.BodySchema) map[string]bool {
	names := map[string]bool{}
	for _, a := range schema.Attributes {
		names[a.Name] = true
	}
	for _, b := range schema.Blocks {
		names[b.Type] = true
	}
	return names
}

// itemState is how far an item has been read.
type itemState uint8

const (
	itemNone   itemState = iota // blanks and comments
	itemHead                    // a type and labels, or the name of an argument
	itemOpen                    // inside the braces of a block
	itemClosed                  // behind them
	itemOther                   // an argument, or any other text
)

// split finds the items of a body between two bytes of a source.
func split(source []byte, from, to, line int) []item {
	s := newScanner(source[:to], line, false)
	s.pos = from
	var items []item
	state, cur := itemNone, item{start: from, line: line}
	end := func() {
		if state != itemNone {
			cur.end, cur.tokens = s.pos, s.tokens-cur.tokens
			if state != itemClosed {
				cur.open, cur.close = 0, 0
			}
			items = append(items, cur)
			state = itemNone
		}
		cur = item{start: s.pos, line: s.line, tokens: s.tokens}
	}
	for s.pos < to {
		at, top := s.pos, len(s.frames) == 1
		if top && source[at] != '\n' {
			state = state.next(s, &cur)
		}
		s.step()
		switch {
		case top && source[at] == '\n':
			end()
		case !top && state == itemOpen && len(s.frames) == 1:
			state, cur.close = itemClosed, s.pos-1
			if len(bytes.TrimSpace(source[bytes.LastIndexByte(source[:cur.close], '\n')+1:cur.close])) > 0 {
				state = itemOther
			}
		}
	}
	end()
	return items
}

// next is the state after what stands at the scanner's position, which is
// outside of all braces and no newline.
func (state itemState) next(s *scanner, cur *item) itemState {
	c := s.rest()[0]
	comment := c == '#' || bytes.HasPrefix(s.rest(), []byte("//"))
	switch {
	case c == ' ' || c == '\t' || c == '\r' || comment:
		return state
	case state == itemNone && word(c):
		cur.named = s.pos
		return itemHead
	case state == itemHead && (word(c) || c == '"' || c == '-'):
		return itemHead
	case state == itemHead && c == '{' && endsLine(s.rest()[1:]):
		cur.open = s.pos
		return itemOpen
	}
	return itemOther
}

// endsLine reports whether nothing but blanks and a comment is left of a line.
func endsLine(rest []byte) bool {
	if n := bytes.IndexByte(rest, '\n'); n >= 0 {
		rest = bytes.TrimSpace(rest[:n])
		return len(rest) == 0 || rest[0] == '#' || bytes.HasPrefix(rest, []byte("//"))
	}
	return false
}

// native is the whole tree of a body in the native syntax, nil for JSON.
func native(body hcl.Body) (*hclsyntax.Body, hcl.Diagnostics) {
	if p, ok := body.(*pieces); ok {
		return p.all()
	}
	tree, _ := body.(*hclsyntax.Body)
	return tree, nil
}

// contentOf reads the arguments and blocks of a body. What fits the layout is
// read without the detours of hcl.Body, which make many maps; all else is left
// to its messages.
func contentOf(body hcl.Body, l *layout) (hcl.Attributes, hcl.Blocks, hcl.Diagnostics) {
	var later map[hcl.Body]*pieces
	var diags hcl.Diagnostics
	tree, ok := body.(*hclsyntax.Body)
	if p, inPieces := body.(*pieces); inPieces {
		tree, later, diags = p.parse(l.known)
		ok = true
	}
	if !ok || !l.fits(tree) {
		if ok {
			body = limited(tree, &l.schema)
		}
		content, more := body.Content(&l.schema)
		if content == nil {
			return nil, nil, append(diags, more...)
		}
		return content.Attributes, put(content.Blocks, later), append(diags, more...)
	}
	var attrs hcl.Attributes
	if len(tree.Attributes) > 0 {
		attrs = make(hcl.Attributes, len(tree.Attributes))
		for name, a := range tree.Attributes {
			attrs[name] = a.AsHCLAttribute()
		}
	}
	blocks := make(hcl.Blocks, 0, len(tree.Blocks))
	for _, b := range tree.Blocks {
		blocks = append(blocks, b.AsHCLBlock())
	}
	return attrs, put(blocks, later), diags
}

// put gives blocks the bodies that were left for later.
func put(blocks hcl.Blocks, later map[hcl.Body]*pieces) hcl.Blocks {
	for _, b := range blocks {
		if inner := later[b.Body]; inner != nil {
			b.Body = inner
		}
	}
	return blocks
}

// fits reports whether a body has nothing that the layout does not know, and
// all that it requires.
func (l *layout) fits(body *hclsyntax.Body) bool {
	for name := range body.Attributes {
		if !l.attrs[name] {
			return false
		}
	}
	for _, name := range l.required {
		if body.Attributes[name] == nil {
			return false
		}
	}
	for _, b := range body.Blocks {
		if n, known := l.blocks[b.Type]; !known || len(b.Labels) != n {
			return false
		}
	}
	return true
}

// limited drops all but some of the items that a schema does not know, because
// the search for what may have been meant takes long.
func limited(tree *hclsyntax.Body, schema *hcl.BodySchema) *hclsyntax.Body {
	if len(tree.Attributes)+len(tree.Blocks) <= maxProblems {
		return tree
	}
	known := known(schema)
	out := &hclsyntax.Body{Attributes: hclsyntax.Attributes{}, SrcRange: tree.SrcRange, EndRange: tree.EndRange}
	kept := 0
	for _, name := range slices.SortedFunc(maps.Keys(tree.Attributes), func(a, b string) int {
		return cmp.Compare(tree.Attributes[a].SrcRange.Start.Byte, tree.Attributes[b].SrcRange.Start.Byte)
	}) {
		if !known[name] {
			kept++
		}
		if known[name] || kept <= maxProblems {
			out.Attributes[name] = tree.Attributes[name]
		}
	}
	kept = 0
	for _, b := range tree.Blocks {
		if !known[b.Type] {
			kept++
		}
		if known[b.Type] || kept <= maxProblems {
			out.Blocks = append(out.Blocks, b)
		}
	}
	return out
}
