package alloctable

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestIDs(t *testing.T) {
	x, other := newIDs([16]byte{1}), newIDs([16]byte{2})
	rapid.Check(t, func(r *rapid.T) {
		n := rapid.Uint64().Draw(r, "number")
		id := x.id(n)
		if got, ok := x.number(id); !ok || got != n {
			r.Fatalf("%s is %d %v, want %d", id, got, ok, n)
		}
		if _, ok := other.number(id); ok {
			r.Fatalf("%s is an id under another key", id)
		}
		changed := []byte(id)
		at := rapid.SampledFrom([]int{0, 9, 20, 35}).Draw(r, "digit")
		changed[at] = "0123456789abcdef0"[strings.IndexByte("0123456789abcdef", changed[at])+1]
		if _, ok := x.number(string(changed)); ok {
			r.Fatalf("%s is an id", changed)
		}
	})
	for _, s := range []string{"", "1234", strings.Repeat("-", 36), strings.Repeat("g", 36), strings.ReplaceAll(x.id(1), "-", "0")} {
		if _, ok := x.number(s); ok {
			t.Errorf("%q is an id", s)
		}
	}
}

// TestPrefixes compares sorted groups with looking at every id.
func TestPrefixes(t *testing.T) {
	x := newIDs([16]byte{3})
	const n = 1<<prefixBits + scanLimit + 5 // two groups, both sorted
	all := make([]string, n)
	for i := range all {
		all[i] = x.id(uint64(i))
	}
	full := all[n-100]
	for _, p := range []string{"", "a", "0f", "ABC", full[:8], full[:9], full[:14], full[:20], full, full + "0", "zz", "0-"} {
		var want []uint64
		for i, id := range all {
			if strings.HasPrefix(id, strings.ToLower(p)) {
				want = append(want, uint64(i))
			}
		}
		got := x.withPrefix(p, n)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("prefix %q: %d numbers, want %d", p, len(got), len(want))
		}
	}
}
