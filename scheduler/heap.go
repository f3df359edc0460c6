package scheduler

import "math"

// entry is one node in a bucket.
type entry struct {
	score float64
	tie   uint32 // seeded, orders equal scores
	num   uint32
}

// before is the order of a bucket: the better score, then the seeded tie.
func (a *entry) before(b *entry) bool {
	if a.score != b.score {
		return a.score > b.score
	}
	if a.tie != b.tie {
		return a.tie < b.tie
	}
	return a.num < b.num
}

// bucket holds the nodes of one combination of spread values and one number of
// score terms; inside it a placement elsewhere never changes the order.
// entries[:heap] is a heap; those behind it are all after limit, and only come
// into play when the heap has nothing better. An entry whose node was scored
// again since is dead and thrown away when it comes to the top.
type bucket struct {
	bucketKey
	entries []entry
	heap    int
	limit   entry // the last of the heap when it was arranged
	filled  int   // entries so far, while a pass fills them in
}

// bucketKey names a bucket.
type bucketKey struct {
	value int32 // combination of spread values
	terms uint8 // number of score terms, 0 when scores are sums
}

// smallBucket is the size up to which a heap of all entries is as cheap as a
// selection.
const smallBucket = 32

// bucketIndex finds the place of a bucket: 1 + its index in engine.buckets, by
// number of terms and by value, 0 for none.
type bucketIndex [][]int32

// at is where the place of a bucket stands.
func (x *bucketIndex) at(key bucketKey) *int32 {
	for len(*x) <= int(key.terms) {
		*x = append(*x, nil)
	}
	row := &(*x)[key.terms]
	if n := int(key.value) + 1; len(*row) < n {
		*row = append(*row, make([]int32, max(n, 2*len(*row), 8)-len(*row))...)
	}
	return &(*row)[key.value]
}

// most is no less than the score of any entry.
func (b *bucket) most() float64 {
	switch {
	case b.heap == 0:
		return math.Inf(1)
	case b.heap < len(b.entries):
		return max(b.entries[0].score, b.limit.score)
	}
	return b.entries[0].score
}

// arrange makes a heap of the best k entries. What is dead then stays.
func (b *bucket) arrange(k int) {
	b.heap = len(b.entries)
	if len(b.entries) > max(2*k, smallBucket) {
		if len(b.entries) > 8*k {
			b.sift(k)
		} else {
			b.selectBest(k)
		}
		b.heap = k
		b.limit = b.entries[0]
		for i := 1; i < k; i++ {
			if b.limit.before(&b.entries[i]) {
				b.limit = b.entries[i]
			}
		}
	}
	for i := b.heap/2 - 1; i >= 0; i-- {
		b.down(i)
	}
}

// sift is selectBest for few of many: it keeps the best so far in a heap with
// the worst of them on top, which most entries do not get into.
func (b *bucket) sift(k int) {
	worst := b.entries[:k]
	sink := func(i int) {
		for {
			child := 2*i + 1
			if child >= k {
				return
			}
			if child+1 < k && worst[child].before(&worst[child+1]) {
				child++
			}
			if !worst[i].before(&worst[child]) {
				return
			}
			worst[i], worst[child] = worst[child], worst[i]
			i = child
		}
	}
	for i := k/2 - 1; i >= 0; i-- {
		sink(i)
	}
	for i := k; i < len(b.entries); i++ {
		if x := &b.entries[i]; x.score >= worst[0].score && x.before(&worst[0]) {
			*x, worst[0] = worst[0], *x
			sink(0)
		}
	}
}

// selectBest moves the best k entries to the front, in no order.
func (b *bucket) selectBest(k int) {
	x := b.entries
	low, high := 0, len(x)-1
	for low < high {
		pivot := medianOf(&x[low], &x[low+(high-low)/2], &x[high])
		i, j := low, high
		for i <= j {
			for x[i].before(&pivot) {
				i++
			}
			for pivot.before(&x[j]) {
				j--
			}
			if i <= j {
				x[i], x[j] = x[j], x[i]
				i++
				j--
			}
		}
		switch {
		case k <= j+1:
			high = j
		case k >= i+1:
			low = i
		default:
			return
		}
	}
}

// medianOf copies the middle one of three entries.
func medianOf(a, b, c *entry) entry {
	if b.before(a) {
		a, b = b, a
	}
	if c.before(b) {
		if b = c; b.before(a) {
			b = a
		}
	}
	return *b
}

// push adds an entry to the heap.
func (b *bucket) push(x entry) {
	b.entries = append(b.entries, x)
	last := len(b.entries) - 1
	b.entries[b.heap], b.entries[last] = b.entries[last], b.entries[b.heap]
	b.heap++
	for i := b.heap - 1; i > 0; {
		parent := (i - 1) / 2
		if !b.entries[i].before(&b.entries[parent]) {
			return
		}
		b.entries[i], b.entries[parent] = b.entries[parent], b.entries[i]
		i = parent
	}
}

// pop throws the top of the heap away.
func (b *bucket) pop() {
	b.heap--
	b.entries[0] = b.entries[b.heap]
	last := len(b.entries) - 1
	b.entries[b.heap] = b.entries[last]
	b.entries = b.entries[:last]
	b.down(0)
}

func (b *bucket) down(i int) {
	for {
		child := 2*i + 1
		if child >= b.heap {
			return
		}
		if child+1 < b.heap && b.entries[child+1].before(&b.entries[child]) {
			child++
		}
		if !b.entries[child].before(&b.entries[i]) {
			return
		}
		b.entries[i], b.entries[child] = b.entries[child], b.entries[i]
		i = child
	}
}
