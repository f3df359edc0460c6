package alloctable

import "sort"

const (
	pageBits = 12
	pageRows = 1 << pageBits
	leafBits = 5
	leafRows = 1 << leafBits
)

// Status byte: desired in bits 0-1, client in bits 2-4.
const collected = 0xff

// page holds the rows of 4,096 consecutive numbers. node, name and made never
// change once written and are shared by all versions of the page.
type page struct {
	owner uint64
	live  int // rows that are not collected
	// offs is nil while slot i is number i; a repacked page has fewer slots,
	// whose offsets are here, ascending.
	offs   []uint16
	node   []uint32
	name   []uint32 // the number in the allocation's name
	made   []uint32 // the batch that made the row
	leaves []*leaf
}

// leaf holds the mutable columns of 32 slots.
type leaf struct {
	owner    uint64
	modify   [leafRows]uint64 // ModifyIndex
	server   [leafRows]uint64 // AllocModifyIndex
	modified [leafRows]int64  // ModifyTime
	batch    [leafRows]uint32 // the batch that last changed it, made at first
	status   [leafRows]uint8
	cold     *[leafRows]*cold // nil while no slot has any
}

func newPage(owner uint64) *page {
	return &page{
		owner:  owner,
		node:   make([]uint32, pageRows),
		name:   make([]uint32, pageRows),
		made:   make([]uint32, pageRows),
		leaves: make([]*leaf, pageRows/leafRows),
	}
}

// slot returns the position of an offset in the page.
func (p *page) slot(off int) (int, bool) {
	if p.offs == nil {
		return off, true
	}
	i := sort.Search(len(p.offs), func(i int) bool { return int(p.offs[i]) >= off })
	return i, i < len(p.offs) && int(p.offs[i]) == off
}

// offset is the inverse of slot.
func (p *page) offset(slot int) int {
	if p.offs == nil {
		return slot
	}
	return int(p.offs[slot])
}

func (p *page) slots() int { return len(p.node) }

// edit returns the page for changing by the owner.
func (p *page) edit(owner uint64) *page {
	if p.owner == owner {
		return p
	}
	c := *p
	c.owner = owner
	c.leaves = append([]*leaf(nil), p.leaves...)
	return &c
}

// editLeaf returns a leaf of an owned page for changing.
func (p *page) editLeaf(owner uint64, i int) *leaf {
	l := p.leaves[i]
	if l.owner != owner {
		c := *l
		c.owner = owner
		if l.cold != nil {
			cc := *l.cold
			c.cold = &cc
		}
		l = &c
		p.leaves[i] = l
	}
	return l
}

// setCold sets the cold data of a slot of an owned leaf.
func (l *leaf) setCold(i int, c *cold) {
	if l.cold == nil {
		if c == nil {
			return
		}
		l.cold = new([leafRows]*cold)
	}
	l.cold[i] = c
}

func (l *leaf) getCold(i int) *cold {
	if l.cold == nil {
		return nil
	}
	return l.cold[i]
}

// repacked returns the page with its live rows alone.
func (p *page) repacked(owner uint64) *page {
	n := &page{owner: owner, live: p.live, offs: make([]uint16, 0, p.live)}
	n.node, n.name, n.made = make([]uint32, 0, p.live), make([]uint32, 0, p.live), make([]uint32, 0, p.live)
	for s := range p.slots() {
		l, i := p.leaves[s>>leafBits], s&(leafRows-1)
		if l.status[i] == collected {
			continue
		}
		to := len(n.offs)
		if to&(leafRows-1) == 0 {
			n.leaves = append(n.leaves, &leaf{owner: owner})
		}
		n.offs = append(n.offs, uint16(p.offset(s)))
		n.node, n.name, n.made = append(n.node, p.node[s]), append(n.name, p.name[s]), append(n.made, p.made[s])
		nl, j := n.leaves[to>>leafBits], to&(leafRows-1)
		nl.modify[j], nl.server[j], nl.modified[j] = l.modify[i], l.server[i], l.modified[i]
		nl.batch[j], nl.status[j] = l.batch[i], l.status[i]
		nl.setCold(j, l.getCold(i))
	}
	return n
}
