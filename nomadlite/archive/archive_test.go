package archive

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestRoundTrip(t *testing.T) {
	state := strings.Repeat("state ", 10_000)
	m := Meta{ID: "x", Index: 7, Term: 2, Created: time.Unix(1000, 0).UTC(), Size: int64(len(state))}
	var file, back bytes.Buffer
	if err := Write(&file, m, strings.NewReader(state)); err != nil {
		t.Fatal(err)
	}
	got, err := Read(bytes.NewReader(file.Bytes()), &back)
	if err != nil || *got != m || back.String() != state {
		t.Fatalf("read %+v, %d bytes, %v", got, back.Len(), err)
	}
}

// TestBroken_D06: an archive that is cut anywhere, or changed anywhere, is
// refused.
func TestBroken_D06(t *testing.T) {
	state := strings.Repeat("0123456789abcdef", 64)
	var file bytes.Buffer
	if err := Write(&file, Meta{Size: int64(len(state))}, strings.NewReader(state)); err != nil {
		t.Fatal(err)
	}
	whole := file.Bytes()
	for n := range len(whole) {
		if _, err := Read(bytes.NewReader(whole[:n]), &bytes.Buffer{}); err == nil {
			t.Fatalf("cut at %d of %d: read", n, len(whole))
		}
	}
	for i := 10; i < len(whole); i++ {
		b := bytes.Clone(whole)
		b[i] ^= 0x55
		var back bytes.Buffer
		if _, err := Read(bytes.NewReader(b), &back); err == nil && back.String() != state {
			t.Fatalf("changed at %d: read as another state", i)
		} else if err != nil && !errors.Is(err, ErrBroken) {
			t.Fatalf("changed at %d: %v", i, err)
		}
	}
}
