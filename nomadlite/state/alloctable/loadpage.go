package alloctable

import (
	"encoding/binary"
)

// cursor reads a record without ever reading beyond it.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) take(n int) []byte {
	if n < 0 || n > len(c.b) {
		c.bad, c.b = true, nil
		return nil
	}
	b := c.b[:n]
	c.b = c.b[n:]
	return b
}

func (c *cursor) number() uint64 {
	n, size := binary.Uvarint(c.b)
	if size <= 0 {
		c.bad, c.b = true, nil
		return 0
	}
	c.b = c.b[size:]
	return n
}

// below reads a number that must be less than limit.
func (c *cursor) below(limit int) int {
	n := c.number()
	if n >= uint64(max(limit, 0)) {
		c.bad = true
		return 0
	}
	return int(n)
}

func (c *cursor) text() string { return string(c.take(c.below(len(c.b) + 1))) }

func (c *cursor) texts() []string {
	n := c.below(len(c.b) + 1)
	list := make([]string, 0, n)
	for range n {
		list = append(list, c.text())
	}
	return list
}

func (c *cursor) uint32s(n, capacity int) []uint32 {
	b := c.take(4 * n)
	if c.bad {
		return nil
	}
	list := make([]uint32, n, capacity)
	for i := range list {
		list[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	return list
}

// loadPage reads what saver.page wrote and takes the rows into the indexes.
func (l *Loader) loadPage(b []byte) error {
	e, c := l.e, &cursor{b: b}
	pages := int((l.head.Numbers + pageRows - 1) >> pageBits)
	i := c.below(pages)
	slots := c.below(pageRows + 1)
	if c.bad || i < e.pages.n {
		return bad("page %d after %d of %d", i, e.pages.n, pages)
	}
	l.skipBatches(l.head.NextBatch)
	p := &page{owner: e.owner}
	switch sparse := c.take(1); {
	case c.bad:
	case sparse[0] == 1:
		if !l.loadOffsets(c, p, slots) {
			return bad("page %d: offsets are not ascending", i)
		}
	case uint64(slots) != min(l.head.Numbers-uint64(i)<<pageBits, pageRows):
		return bad("page %d has %d rows", i, slots)
	}
	capacity := pageRows
	if p.offs != nil {
		capacity = slots
	}
	p.node, p.name, p.made = c.uint32s(slots, capacity), c.uint32s(slots, capacity), c.uint32s(slots, capacity)
	if c.bad {
		return bad("page %d is cut short", i)
	}
	if p.offs == nil {
		p.node, p.name, p.made = p.node[:pageRows], p.name[:pageRows], p.made[:pageRows]
		p.leaves = make([]*leaf, pageRows/leafRows)
	} else {
		p.leaves = make([]*leaf, (slots+leafRows-1)/leafRows)
	}
	if !loadLeaves(c, p, e.owner, slots) || !l.loadColds(c, p, slots) || c.bad || len(c.b) > 0 {
		return bad("page %d is cut short or too long", i)
	}
	for e.pages.n < i {
		e.pages.add(e.owner, nil)
	}
	e.pages.add(e.owner, p)
	return l.indexPage(i, p, slots)
}

func (l *Loader) loadOffsets(c *cursor, p *page, slots int) bool {
	raw := c.take(2 * slots)
	p.offs = make([]uint16, 0, slots)
	for i := 0; i+1 < len(raw); i += 2 {
		o := binary.LittleEndian.Uint16(raw[i:])
		if o >= pageRows || len(p.offs) > 0 && o <= p.offs[len(p.offs)-1] {
			return false
		}
		p.offs = append(p.offs, o)
	}
	return true
}

func loadLeaves(c *cursor, p *page, owner uint64, slots int) bool {
	const width = 8 + 8 + 8 + 4 + 1
	for slot := range slots {
		b := c.take(width)
		if b == nil {
			return false
		}
		j := slot & (leafRows - 1)
		if j == 0 {
			p.leaves[slot>>leafBits] = &leaf{owner: owner}
		}
		f := p.leaves[slot>>leafBits]
		f.modify[j] = binary.LittleEndian.Uint64(b)
		f.server[j] = binary.LittleEndian.Uint64(b[8:])
		f.modified[j] = int64(binary.LittleEndian.Uint64(b[16:]))
		f.batch[j] = binary.LittleEndian.Uint32(b[24:])
		f.status[j] = b[28]
	}
	return true
}

func (l *Loader) loadColds(c *cursor, p *page, slots int) bool {
	var shapes []Shape
	for _, s := range c.texts() {
		shape, err := ParseShape(s)
		if err != nil {
			return false
		}
		shapes = append(shapes, shape)
	}
	var rares []*Rare
	for _, text := range c.texts() {
		x := new(Rare)
		if l.c.Decode([]byte(text), x) != nil {
			return false
		}
		rares = append(rares, x)
	}
	for range c.below(slots + 1) {
		slot := c.below(slots)
		x, k := &cold{}, c.below(len(shapes)+1)
		x.facts = c.text()
		f, ok := unpackFacts(x.facts)
		if k > 0 && ok {
			_, err := shapes[k-1].Tasks(f.times)
			x.tasks, ok = shapes[k-1].shape, err == nil
		} else if f.times != "" {
			ok = false
		}
		if k := c.below(len(rares) + 1); k > 0 {
			x.rare = rares[k-1]
		}
		if c.bad || !ok {
			return false
		}
		p.leaves[slot>>leafBits].setCold(slot&(leafRows-1), x)
	}
	return true
}

// indexPage checks the references of the rows of a page and counts them.
func (l *Loader) indexPage(i int, p *page, slots int) error {
	e := l.e
	for slot := range slots {
		number := uint64(i)<<pageBits | uint64(p.offset(slot))
		status := p.leaves[slot>>leafBits].status[slot&(leafRows-1)]
		if status == collected {
			continue
		}
		r, _ := p.row(number, slot)
		made, last := e.batches.get(int(r.Made)), e.batches.get(int(r.Batch))
		if int(r.Desired) >= len(desiredNames) || int(r.Client) >= len(clientNames) || int(r.Node) >= e.nodes.n ||
			made == nil || last == nil || number < made.first || number >= made.first+made.count || number >= l.head.Numbers {
			return bad("row %d refers to what does not exist", number)
		}
		p.live++
		e.live++
		*e.refs.at(int(r.Made))++
		*e.refs.at(int(r.Batch))++
		n := e.nodeRows.edit(e.owner, int(r.Node))
		n.rows = append(n.rows, number)
		n.hold(number, r.Holds())
		if r.Live() {
			n.usage.add(last.ask, 1)
			e.jobs.edit(e.owner, int(last.job)).live++
		}
	}
	return nil
}
