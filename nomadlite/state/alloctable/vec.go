package alloctable

// vec is a persistent array: a version is a value, and an Edit copies only the
// chunks that it changes. Appending writes in place beyond the length of every
// older version.
type vec[T any] struct {
	dirs  []*dir[T]
	owner uint64 // of the dirs slice
	n     int
}

const (
	chunkBits = 4
	dirBits   = 6
	chunkLen  = 1 << chunkBits
	dirLen    = 1 << dirBits
)

type dir[T any] struct {
	owner  uint64
	chunks [dirLen]*chunk[T]
}

type chunk[T any] struct {
	owner uint64
	items [chunkLen]T
}

func (v *vec[T]) at(i int) *T {
	return &v.dirs[i>>(chunkBits+dirBits)].chunks[i>>chunkBits&(dirLen-1)].items[i&(chunkLen-1)]
}

// get returns item i, the zero value when there is none.
func (v *vec[T]) get(i int) T {
	if i < 0 || i >= v.n {
		var zero T
		return zero
	}
	return *v.at(i)
}

// edit returns item i for changing by the owner.
func (v *vec[T]) edit(owner uint64, i int) *T {
	if v.owner != owner {
		v.dirs = append(make([]*dir[T], 0, len(v.dirs)+1), v.dirs...)
		v.owner = owner
	}
	d := v.dirs[i>>(chunkBits+dirBits)]
	if d.owner != owner {
		c := *d
		c.owner = owner
		d = &c
		v.dirs[i>>(chunkBits+dirBits)] = d
	}
	c := d.chunks[i>>chunkBits&(dirLen-1)]
	if c.owner != owner {
		n := *c
		n.owner = owner
		c = &n
		d.chunks[i>>chunkBits&(dirLen-1)] = c
	}
	return &c.items[i&(chunkLen-1)]
}

// add appends an item and returns its position.
func (v *vec[T]) add(owner uint64, item T) int {
	i := v.n
	d := i >> (chunkBits + dirBits)
	if d == len(v.dirs) {
		v.dirs = append(v.dirs, &dir[T]{owner: owner})
	}
	if c := &v.dirs[d].chunks[i>>chunkBits&(dirLen-1)]; i&(chunkLen-1) == 0 {
		*c = &chunk[T]{owner: owner}
	}
	v.n++
	*v.at(i) = item
	return i
}
