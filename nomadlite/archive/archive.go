// Package archive is the file that operators save a cluster's state in, in the
// contract's form: a compressed tar of meta.json, state.bin and SHA256SUMS. It
// knows nothing of what the state holds.
package archive

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Names of the parts.
const (
	metaName  = "meta.json"
	stateName = "state.bin"
	sumsName  = "SHA256SUMS"
)

// maxSmall bounds meta.json and SHA256SUMS.
const maxSmall = 1 << 20

// Meta describes the state of an archive.
type Meta struct {
	ID      string // names the archive
	Index   uint64
	Term    uint64
	Cluster string
	Version string // of the server that wrote it
	Created time.Time
	Size    int64 // of the state, in bytes
}

// ErrBroken is wrapped by errors about an archive that cannot be read.
var ErrBroken = errors.New("broken snapshot archive")

func broken(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrBroken, fmt.Sprintf(format, args...))
}

// Write writes an archive of m.Size bytes of state.
func Write(w io.Writer, m Meta, state io.Reader) error {
	meta, err := json.Marshal(m)
	if err != nil {
		return err
	}
	zip := gzip.NewWriter(w)
	out := tar.NewWriter(zip)
	sums := &bytes.Buffer{}
	if err := add(out, sums, metaName, int64(len(meta)), bytes.NewReader(meta), m.Created); err != nil {
		return err
	}
	if err := add(out, sums, stateName, m.Size, state, m.Created); err != nil {
		return err
	}
	if err := add(out, nil, sumsName, int64(sums.Len()), sums, m.Created); err != nil {
		return err
	}
	return errors.Join(out.Close(), zip.Close())
}

func add(out *tar.Writer, sums *bytes.Buffer, name string, size int64, from io.Reader, at time.Time) error {
	if err := out.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: size, ModTime: at}); err != nil {
		return err
	}
	h := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(out, h), from, size); err != nil {
		return fmt.Errorf("cannot write %s: %w", name, err)
	}
	if sums != nil {
		fmt.Fprintf(sums, "%x  %s\n", h.Sum(nil), name)
	}
	return nil
}

// Read reads an archive and copies its state to w. What w got counts only when
// the error is nil: sums are checked at the end.
func Read(r io.Reader, w io.Writer) (*Meta, error) {
	zip, err := gzip.NewReader(bufio.NewReader(r))
	if err != nil {
		return nil, broken("it is not compressed: %v", err)
	}
	in := tar.NewReader(zip)
	got := map[string]string{}
	var meta *Meta
	var sums []byte
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, broken("%v", err)
		}
		if _, twice := got[h.Name]; twice || h.Typeflag != tar.TypeReg {
			return nil, broken("unexpected part %q", h.Name)
		}
		sum := sha256.New()
		body := io.TeeReader(in, sum)
		switch h.Name {
		case metaName:
			if meta, err = readMeta(body); err != nil {
				return nil, err
			}
		case stateName:
			if meta == nil || h.Size != meta.Size {
				return nil, broken("the state has %d bytes, %s says otherwise", h.Size, metaName)
			}
			if _, err := io.Copy(w, body); err != nil {
				return nil, broken("%v", err)
			}
		case sumsName:
			if sums, err = io.ReadAll(io.LimitReader(body, maxSmall)); err != nil {
				return nil, broken("%v", err)
			}
		default:
			return nil, broken("unexpected part %q", h.Name)
		}
		got[h.Name] = hex.EncodeToString(sum.Sum(nil))
	}
	// The end of the compressed stream carries its own sum.
	if n, err := io.CopyN(io.Discard, zip, maxSmall); !errors.Is(err, io.EOF) {
		return nil, broken("%d bytes follow the last part: %v", n, err)
	}
	if meta == nil || sums == nil || got[stateName] == "" {
		return nil, broken("a part is missing")
	}
	return meta, check(sums, got)
}

func readMeta(r io.Reader) (*Meta, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxSmall))
	if err != nil {
		return nil, broken("%v", err)
	}
	m := &Meta{}
	if err := json.Unmarshal(text, m); err != nil {
		return nil, broken("cannot read %s: %v", metaName, err)
	}
	return m, nil
}

// check compares the sums of the parts with the listed ones; both must be
// listed.
func check(sums []byte, got map[string]string) error {
	listed := 0
	for line := range strings.Lines(string(sums)) {
		want, name, ok := strings.Cut(strings.TrimSpace(line), "  ")
		if !ok || got[name] != want {
			return broken("the sum of %q is wrong", name)
		}
		listed++
	}
	if listed != 2 {
		return broken("%s lists %d parts, want 2", sumsName, listed)
	}
	return nil
}
