package alloctable

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"encoding/hex"
	"sort"
	"strings"
	"sync"
)

// idTag is the second half of the block that an id encrypts. What does not
// decrypt to it is no id of ours.
const idTag = 0x6e6f6d61646c6974 // "nomadlit"

// ids maps numbers to ids and back. An id is one AES block of number and tag,
// written as 8-4-4-4-12 hex digits. Like the ids of the contract's owner it is
// 128 bits that look random, without the version bits of RFC 9562: those six
// bits could not be inverted.
type ids struct {
	key   [16]byte
	block cipher.Block

	mu     sync.Mutex
	sorted map[uint64][]prefixKey // by number >> prefixBits; guarded by mu
}

// prefixBits: ids are sorted in groups of 65,536 consecutive numbers.
const prefixBits = 16

type prefixKey struct {
	head uint64 // the first eight bytes of the id
	low  uint16 // number within the group
}

func newIDs(key [16]byte) *ids {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // a 16 byte key is always accepted
	}
	return &ids{key: key, block: block, sorted: make(map[uint64][]prefixKey)}
}

func (x *ids) bytes(number uint64) (b [16]byte) {
	binary.BigEndian.PutUint64(b[:], number)
	binary.BigEndian.PutUint64(b[8:], idTag)
	x.block.Encrypt(b[:], b[:])
	return b
}

// id returns the id of a number.
func (x *ids) id(number uint64) string {
	b := x.bytes(number)
	var s [36]byte
	hex.Encode(s[:8], b[:4])
	hex.Encode(s[9:13], b[4:6])
	hex.Encode(s[14:18], b[6:8])
	hex.Encode(s[19:23], b[8:10])
	hex.Encode(s[24:], b[10:])
	s[8], s[13], s[18], s[23] = '-', '-', '-', '-'
	return string(s[:])
}

// number returns the number that an id stands for.
func (x *ids) number(id string) (uint64, bool) {
	b, ok := ParseID(id)
	if !ok {
		return 0, false
	}
	return x.numberOf(b)
}

// ParseID reads the text of an id.
func ParseID(id string) (b [16]byte, ok bool) {
	if len(id) != 36 || id[8] != '-' || id[13] != '-' || id[18] != '-' || id[23] != '-' {
		return b, false
	}
	var digits [32]byte
	n := copy(digits[:], id[:8])
	n += copy(digits[n:], id[9:13])
	n += copy(digits[n:], id[14:18])
	n += copy(digits[n:], id[19:23])
	copy(digits[n:], id[24:])
	_, err := hex.Decode(b[:], digits[:])
	return b, err == nil
}

func (x *ids) numberOf(b [16]byte) (uint64, bool) {
	x.block.Decrypt(b[:], b[:])
	if binary.BigEndian.Uint64(b[8:]) != idTag {
		return 0, false
	}
	return binary.BigEndian.Uint64(b[:]), true
}

// group returns the sorted ids of the 65,536 numbers of a group. They depend
// on the key alone, so they are made once, whichever of them exist.
func (x *ids) group(g uint64) []prefixKey {
	x.mu.Lock()
	defer x.mu.Unlock()
	keys := x.sorted[g]
	if keys == nil {
		keys = make([]prefixKey, 1<<prefixBits)
		for i := range keys {
			b := x.bytes(g<<prefixBits | uint64(i))
			keys[i] = prefixKey{binary.BigEndian.Uint64(b[:]), uint16(i)}
		}
		sort.Slice(keys, func(i, j int) bool { return keys[i].head < keys[j].head })
		x.sorted[g] = keys
	}
	return keys
}

// scanLimit is how many ids are computed one by one rather than sorted.
const scanLimit = 4096

// withPrefix returns the numbers below n whose id begins with prefix, in no
// order.
func (x *ids) withPrefix(prefix string, n uint64) []uint64 {
	prefix = strings.ToLower(prefix)
	lo, hi, ok := prefixRange(prefix)
	if !ok {
		return nil
	}
	var found []uint64
	for g := uint64(0); g<<prefixBits < n; g++ {
		first := g << prefixBits
		if n-first <= scanLimit {
			for i := first; i < n; i++ {
				b := x.bytes(i)
				if head := binary.BigEndian.Uint64(b[:]); head >= lo && head <= hi {
					found = append(found, i)
				}
			}
			continue
		}
		keys := x.group(g)
		from := sort.Search(len(keys), func(i int) bool { return keys[i].head >= lo })
		for _, k := range keys[from:] {
			if k.head > hi {
				break
			}
			if i := first | uint64(k.low); i < n {
				found = append(found, i)
			}
		}
	}
	if len(prefix) <= 18 { // the head covers it
		return found
	}
	exact := found[:0]
	for _, i := range found {
		if strings.HasPrefix(x.id(i), prefix) {
			exact = append(exact, i)
		}
	}
	return exact
}

// prefixRange is the range of heads that begin with the hex digits of prefix,
// false when it cannot begin any id.
func prefixRange(prefix string) (lo, hi uint64, ok bool) {
	if len(prefix) > 36 {
		return 0, 0, false
	}
	digits := 0
	for i := 0; i < len(prefix); i++ {
		c := prefix[i]
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if c != '-' {
				return 0, 0, false
			}
			continue
		}
		v := strings.IndexByte("0123456789abcdef", c)
		if v < 0 {
			return 0, 0, false
		}
		if digits < 16 {
			lo = lo<<4 | uint64(v)
			digits++
		}
	}
	if digits == 0 {
		return 0, ^uint64(0), true
	}
	shift := uint(64 - 4*digits)
	lo <<= shift
	return lo, lo | (1<<shift - 1), true
}
