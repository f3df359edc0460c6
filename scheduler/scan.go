package scheduler

import (
	"math"
	"slices"

	"github.com/nomadlite/nomadlite/structs"
)

// hotRow is what a pass over all nodes reads of one. It follows from the exact
// columns of Cluster. A node that takes no allocations has a cpu that nothing
// fits in.
type hotRow struct {
	cpu, mem, disk int32 // free, cut to 32 bits (2 PiB of memory)
	class          uint32
	// invCPU and invMem are 1/total, price is that of an empty node, x and y
	// the direction of what is free.
	invCPU, invMem, price, x, y float32
}

// closed is the free CPU of a node that takes no allocations.
const closed = math.MinInt32

// warm makes the hot row of a node again.
func (c *Cluster) warm(num uint32) {
	h, free, total := &c.hot[num], &c.free[num], &c.total[num]
	h.class = c.class[num]
	n := c.rows[num].Node
	if !c.ready[num] || n == nil || n.NodeMaxAllocs > 0 && int(c.used[num]) >= n.NodeMaxAllocs {
		h.cpu = closed
		return
	}
	h.cpu, h.mem, h.disk = cut(free.CPU), cut(free.MemoryMB), cut(free.DiskMB)
	a, b := float64(free.CPU), float64(free.MemoryMB)
	h.invCPU, h.invMem = float32(inverse(float64(total.CPU))), float32(inverse(float64(total.MemoryMB)))
	if h.price = 0; c.used[num] == 0 {
		h.price = emptyNodePrice
	}
	b /= memoryPerMHz
	perLength := inverse(math.Sqrt(a*a + b*b))
	h.x, h.y = float32(a*perLength), float32(b*perLength)
}

func cut(x int64) int32 { return int32(min(max(x, closed+1), math.MaxInt32)) }

// inverse is 1/x, 0 when there is nothing to divide by.
func inverse(x float64) float64 {
	if x <= 0 {
		return 0
	}
	return 1 / x
}

// alignAsk is an ask as alignment compares it with nodes.
type alignAsk struct {
	cpu, mem float32
	// x and y are the direction of the ask, times the weight of alignment, and
	// most is that weight; all 0 for an empty ask.
	x, y, most float32
}

func newAlignAsk(a Amount) alignAsk {
	k := alignAsk{cpu: float32(a.CPU), mem: float32(a.MemoryMB)}
	x, y := float64(a.CPU), float64(a.MemoryMB)/memoryPerMHz
	if length := math.Sqrt(x*x + y*y); length > 0 {
		k.x, k.y, k.most = float32(alignmentWeight*x/length), float32(alignmentWeight*y/length), alignmentWeight
	}
	return k
}

// score is alignmentScore on a hot row, to the precision of its columns.
func (k *alignAsk) score(h *hotRow) float64 {
	cpu, mem := (float32(h.cpu)-k.cpu)*h.invCPU, (float32(h.mem)-k.mem)*h.invMem
	off := max(cpu, mem) - min(cpu, mem)
	cost := fitWeight*(cpu+mem) + balanceWeight*off + h.price + k.most - k.x*h.x - k.y*h.y
	return float64(1 - cost*(1.0/alignmentMax))
}

// collect scores every node that fits, puts it in its bucket and counts the
// others in the metric.
func (e *engine) collect(m *structs.AllocMetric) {
	if e.columnar {
		e.collectColumns()
		e.countExhausted(m)
	} else {
		e.collectViews(m)
	}
	// A spread takes from all buckets in turn; one that gives more is ordered
	// as a whole then.
	each := e.wanted
	if n := len(e.buckets); n > 1 {
		each = min(each, 2*e.wanted/n+2)
	}
	for i := range e.buckets {
		e.buckets[i].arrange(each)
	}
	// What the pass over the columns does not look at concerns few nodes.
	for _, num := range e.work.dirty {
		if e.columnar {
			if reason, isFilter := e.refuses(num); isFilter {
				filtered(m, e.cluster.rows[num].Node, reason, 1)
			}
		}
		e.refresh(num)
	}
}

// collectColumns is the pass for groups that ask for plain resources only. It
// goes through the nodes in order, unless few classes fit.
func (e *engine) collectColumns() {
	candidates := 0
	for id := range e.classes {
		if state := &e.classes[id]; state.fits {
			n := len(e.cluster.classes.list[id].nodes)
			e.buckets[state.bucket].filled += n
			candidates += n
		}
	}
	for i := range e.buckets {
		b := &e.buckets[i]
		b.entries, b.filled = slices.Grow(b.entries, b.filled)[:b.filled], 0
	}
	if candidates*4 > len(e.cluster.hot) {
		e.columns(nil, len(e.cluster.hot))
	} else {
		for id := range e.classes {
			if e.classes[id].fits {
				nodes := e.cluster.classes.list[id].nodes
				e.columns(nodes, len(nodes))
			}
		}
	}
	for i := range e.buckets {
		b := &e.buckets[i]
		b.entries, b.filled = b.entries[:b.filled], 0
	}
}

// columns goes through the given nodes, or the first n of all.
func (e *engine) columns(nodes []uint32, n int) {
	hot, classes, need, seed := e.cluster.hot, e.classes, e.need, e.opts.Seed
	for i := range n {
		num := uint32(i)
		if nodes != nil {
			num = nodes[i]
		}
		h := &hot[num]
		class := &classes[h.class]
		if !class.fits {
			continue
		}
		if h.cpu < need[0] || h.mem < need[1] || h.disk < need[2] {
			e.tooSmall(num, h, class)
			continue
		}
		b := &e.buckets[class.bucket]
		b.entries[b.filled] = entry{score: e.align.score(h) + class.affinity, tie: tie(seed, num), num: num}
		b.filled++
	}
}

// tooSmall counts a node that has not enough left.
func (e *engine) tooSmall(num uint32, h *hotRow, class *classState) {
	dimension := 0
	switch {
	case h.cpu == closed:
		if dimension = 3; !e.cluster.ready[num] {
			return
		}
	case h.cpu < e.need[0]:
	case h.mem < e.need[1]:
		dimension = 1
	default:
		dimension = 2
	}
	e.short[dimension]++
	class.exhausted++
}

// countExhausted tells the metric what the columns were short of.
func (e *engine) countExhausted(m *structs.AllocMetric) {
	for i, dimension := range [...]string{dimensions[0], dimensions[1], dimensions[2], reasonMaxAllocs} {
		if e.short[i] > 0 {
			m.NodesExhausted += e.short[i]
			bump(&m.DimensionExhausted, dimension, e.short[i])
		}
	}
	for id := range e.classes {
		if n := e.classes[id].exhausted; n > 0 {
			if class := e.cluster.classes.list[id].sample.NodeClass; class != "" {
				bump(&m.ClassExhausted, class, n)
			}
		}
	}
}

// collectViews is the pass for groups that ask for more, or whose algorithm
// wants to see each node.
func (e *engine) collectViews(m *structs.AllocMetric) {
	for id := range e.classes {
		if !e.classes[id].fits {
			continue
		}
		for _, num := range e.cluster.classes.list[id].nodes {
			if reason, isFilter := e.refuses(num); reason != "" {
				e.counted(m, num, reason, isFilter)
				continue
			}
			if e.work.slots[num].dirty {
				continue // scored by collect
			}
			score, terms := e.score(num)
			b := &e.buckets[e.bucketOf(e.value(num), terms)]
			b.entries = append(b.entries, entry{score: score, tie: tie(e.opts.Seed, num), num: num})
		}
	}
}
