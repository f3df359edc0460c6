package state

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/nomadlite/nomadlite/nomadlite/state/alloctable"
	"github.com/nomadlite/nomadlite/structs"
)

// A saved state is a header and frames:
//
//	header  magic (8 bytes), version of the format (2), least version of a
//	        reader (2)
//	frame   kind (1), length of the payload (4), payload, CRC-32C of all that
//
// Numbers are little endian. The first frame is the meta frame; frames of table
// rows hold the table's name and then length-prefixed rows; frames of
// allocations are records of package alloctable, after all tables; the last
// frame counts the frames before it.
const (
	formatMagic  = "nmltSTAT"
	formatNewest = 3 // since 3 with the last changes by namespace
	formatOldest = 2 // what this build reads: format 1 was never released
	formatLeast  = 2 // the least version that can read what this build writes
)

const (
	frameMeta   = 1
	frameRows   = 2
	frameAllocs = 3
	frameEnd    = 0xff
)

// maxFrame bounds a frame so that a broken length cannot exhaust the memory.
// A record that is larger than rowsFrame gets a frame of its own.
const (
	maxFrame  = 64 << 20
	rowsFrame = 256 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrBroken is wrapped by all errors about a saved state that cannot be read.
var ErrBroken = errors.New("broken state snapshot")

func broken(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrBroken, fmt.Sprintf(format, args...))
}

type savedMeta struct {
	Index, Epoch  uint64
	Cluster       string
	Keyed         bool
	AllocsDeleted uint64
	AllocsChanged uint64
	Tables        []savedTable
	Spaces        []savedSpace
}

type savedTable struct {
	Name             string
	Changed, Deleted uint64
	Rows             int
}

// Save writes the snapshot. It holds up nobody.
func (s *Snapshot) Save(w io.Writer) error {
	b := bufio.NewWriterSize(w, 1<<20)
	f := &frameWriter{w: b}
	var head [12]byte
	copy(head[:], formatMagic)
	binary.LittleEndian.PutUint16(head[8:], formatNewest)
	binary.LittleEndian.PutUint16(head[10:], formatLeast)
	if _, err := b.Write(head[:]); err != nil {
		return err
	}
	meta, err := Encode(s.meta())
	if err != nil {
		return err
	}
	if err := f.frame(frameMeta, meta); err != nil {
		return err
	}
	for _, t := range tables {
		if t != nil {
			if err := saveRows(f, t, s.r); err != nil {
				return err
			}
		}
	}
	if err := s.r.allocs.Save(s.codec(), func(b []byte) error { return f.frame(frameAllocs, b) }); err != nil {
		return err
	}
	if err := f.frame(frameEnd, binary.AppendUvarint(nil, f.count)); err != nil {
		return err
	}
	return b.Flush()
}

func (s *Snapshot) meta() *savedMeta {
	m := &savedMeta{Index: s.r.index, Epoch: s.r.epoch, Cluster: s.r.cluster, Keyed: s.r.keyed,
		AllocsDeleted: s.r.allocsDeleted, AllocsChanged: s.r.changed[TableAllocs], Spaces: s.r.savedSpaces()}
	for _, t := range tables {
		if t != nil {
			m.Tables = append(m.Tables, savedTable{t.tableName(), s.r.changed[t.tableID()], t.deletedIndex(s.r), t.count(s.r.tables[t.tableID()])})
		}
	}
	return m
}

// codec connects the allocation table to the job tables.
func (s *Snapshot) codec() alloctable.Codec {
	return alloctable.Codec{Encode: Encode, Decode: Decode, Stored: func(ns, id string, version, created uint64) *structs.Job {
		if v := jobVersions.get(s.r, versionKey(ns, id, version)); v != nil && v.CreateIndex == created {
			return v
		}
		return nil
	}}
}

func saveRows(f *frameWriter, t erased, r *root) error {
	start := appendText(nil, t.tableName())
	b := start
	err := t.save(r, func(row []byte) error {
		b = append(binary.AppendUvarint(b, uint64(len(row))), row...)
		if len(b) < rowsFrame {
			return nil
		}
		err := f.frame(frameRows, b)
		b = b[:len(start)]
		return err
	})
	if err == nil && len(b) > len(start) {
		err = f.frame(frameRows, b)
	}
	return err
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

type frameWriter struct {
	w     io.Writer
	count uint64
}

func (f *frameWriter) frame(kind byte, payload []byte) error {
	if len(payload) > maxFrame {
		return structs.Errorf(structs.TooLarge, "cannot save the state: a record of %d bytes, the limit is %d", len(payload), maxFrame)
	}
	var head [5]byte
	head[0] = kind
	binary.LittleEndian.PutUint32(head[1:], uint32(len(payload)))
	sum := crc32.Update(crc32.Checksum(head[:], castagnoli), castagnoli, payload)
	var tail [4]byte
	binary.LittleEndian.PutUint32(tail[:], sum)
	for _, b := range [][]byte{head[:], payload, tail[:]} {
		if _, err := f.w.Write(b); err != nil {
			return err
		}
	}
	f.count++
	return nil
}

// Restore reads a saved state, checks it as a whole and only then replaces the
// store's. Snapshots taken before stay valid; channels of Replaced close.
func (s *Store) Restore(in io.Reader) error {
	s.writer.Lock()
	defer s.writer.Unlock()
	s.txns++
	r, err := restore(in, s.txns)
	if err != nil {
		return err
	}
	s.root.Store(r)
	if s.observer != nil {
		s.observer(Changed{After: &Snapshot{r: r}, Replaced: true})
	}
	s.mu.Lock()
	close(s.replaced)
	s.replaced = make(chan struct{})
	s.mu.Unlock()
	s.hub.notifyAll()
	return nil
}

// Verify reads a saved state without using it and returns its index.
func Verify(in io.Reader) (index uint64, err error) {
	r, err := restore(in, 1)
	if err != nil {
		return 0, err
	}
	return r.index, nil
}

// restorer builds a root from frames.
type restorer struct {
	in     *bufio.Reader
	offset int64
	frames uint64
	format uint16
	root   *root
	meta   *savedMeta
	allocs *alloctable.Loader
	owner  uint64
}

func restore(in io.Reader, owner uint64) (*root, error) {
	x := &restorer{in: bufio.NewReaderSize(in, 1<<20), root: newRoot(Options{}), owner: owner}
	if err := x.header(); err != nil {
		return nil, err
	}
	for {
		at := x.offset
		kind, payload, err := x.frame()
		if err == nil && kind == frameEnd {
			err = x.end(payload)
			if err == nil {
				return x.root, nil
			}
		} else if err == nil {
			err = x.apply(kind, payload)
		}
		if err != nil {
			return nil, fmt.Errorf("frame %d at offset %d: %w", x.frames, at, err)
		}
	}
}

func (x *restorer) header() error {
	var head [12]byte
	if _, err := io.ReadFull(x.in, head[:]); err != nil {
		return broken("cannot read the header: %v", err)
	}
	x.offset = int64(len(head))
	if string(head[:8]) != formatMagic {
		return broken("it does not begin with %q", formatMagic)
	}
	if x.format = binary.LittleEndian.Uint16(head[8:]); x.format < formatOldest {
		return broken("it has format %d, this build reads %d to %d; use an older build", x.format, formatOldest, formatNewest)
	}
	if least := binary.LittleEndian.Uint16(head[10:]); least > formatNewest {
		return broken("it needs format %d, this build reads up to %d; use a newer build", least, formatNewest)
	}
	return nil
}

func (x *restorer) frame() (kind byte, payload []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(x.in, head[:]); err != nil {
		return 0, nil, broken("it is cut short: %v", err)
	}
	n := binary.LittleEndian.Uint32(head[1:])
	if n > maxFrame {
		return 0, nil, broken("a frame of %d bytes, the limit is %d", n, maxFrame)
	}
	payload, err = io.ReadAll(io.LimitReader(x.in, int64(n)))
	if err != nil {
		return 0, nil, err
	}
	var tail [4]byte
	if _, err := io.ReadFull(x.in, tail[:]); err != nil || len(payload) != int(n) {
		return 0, nil, broken("it is cut short")
	}
	sum := crc32.Update(crc32.Checksum(head[:], castagnoli), castagnoli, payload)
	if sum != binary.LittleEndian.Uint32(tail[:]) {
		return 0, nil, broken("the checksum is wrong")
	}
	x.offset += int64(len(head)+len(tail)) + int64(n)
	x.frames++
	return head[0], payload, nil
}

func (x *restorer) apply(kind byte, payload []byte) error {
	if (kind == frameMeta) != (x.meta == nil) {
		return broken("the meta frame is missing or comes twice")
	}
	switch kind {
	case frameMeta:
		return x.loadMeta(payload)
	case frameRows:
		if x.allocs != nil {
			return broken("table rows after allocations")
		}
		return x.loadRows(payload)
	case frameAllocs:
		if x.allocs == nil {
			x.allocs = alloctable.Load((&Snapshot{r: x.root}).codec(), x.owner)
		}
		if err := x.allocs.Record(payload); err != nil {
			return broken("%v", err)
		}
		return nil
	}
	return broken("unknown kind of frame %d", kind)
}

func (x *restorer) loadMeta(b []byte) error {
	m := new(savedMeta)
	if err := Decode(b, m); err != nil {
		return broken("meta: %v", err)
	}
	x.meta = m
	r := x.root
	r.index, r.epoch, r.cluster, r.keyed = m.Index, m.Epoch, m.Cluster, m.Keyed
	r.changesFrom, r.evalChangesFrom = m.Index, m.Index
	r.allocsDeleted, r.changed[TableAllocs] = m.AllocsDeleted, m.AllocsChanged
	for _, saved := range m.Tables {
		t := tableNamed(saved.Name)
		if t == nil {
			return broken("unknown table %q; use a newer build", saved.Name)
		}
		r.changed[t.tableID()] = saved.Changed
		t.setDeleted(r.tables[t.tableID()], saved.Deleted)
	}
	return r.loadSpaces(m.Spaces)
}

func tableNamed(name string) erased {
	for _, t := range tables {
		if t != nil && t.tableName() == name {
			return t
		}
	}
	return nil
}

func (x *restorer) loadRows(b []byte) error {
	name, b, ok := takeText(b)
	t := tableNamed(string(name))
	if !ok || t == nil {
		return broken("rows of unknown table %q", name)
	}
	for len(b) > 0 {
		var row []byte
		if row, b, ok = takeText(b); !ok {
			return broken("a row of table %q is cut short", name)
		}
		if err := t.load(x.root.tables[t.tableID()], row); err != nil {
			return broken("row of table %q: %v", name, err)
		}
	}
	return nil
}

func takeText(b []byte) (text, rest []byte, ok bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return nil, nil, false
	}
	return b[size : size+int(n)], b[size+int(n):], true
}

// end checks that nothing is missing.
func (x *restorer) end(b []byte) error {
	n, size := binary.Uvarint(b)
	if size != len(b) || n != x.frames-1 {
		return broken("%d frames were written, %d are here", n, x.frames-1)
	}
	if x.meta == nil || x.allocs == nil {
		return broken("the meta frame or the allocations are missing")
	}
	if _, err := x.in.ReadByte(); err != io.EOF {
		return broken("something follows the last frame")
	}
	for _, saved := range x.meta.Tables {
		t := tableNamed(saved.Name)
		if have := t.count(x.root.tables[t.tableID()]); have != saved.Rows {
			return broken("table %q has %d rows, %d were written", saved.Name, have, saved.Rows)
		}
	}
	if x.format < 3 {
		x.root.guessSpaces()
	}
	table, err := x.allocs.Done()
	if err != nil {
		return broken("%v", err)
	}
	x.root.allocs = table
	return nil
}
