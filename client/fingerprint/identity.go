package fingerprint

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/nomadlite/nomadlite/wholefile"
)

// Identity returns the node's id and its secret, random UUIDs that are kept in
// dir/client-id and dir/secret-id (mode 0600) and made when missing. A file
// that holds anything else is an error: a node that silently took a new id
// would leave its tasks behind.
func Identity(dir string) (id, secret string, err error) {
	if id, err = keptUUID(filepath.Join(dir, "client-id"), "the node's id"); err != nil {
		return "", "", err
	}
	if secret, err = keptUUID(filepath.Join(dir, "secret-id"), "the node's secret"); err != nil {
		return "", "", err
	}
	return id, secret, nil
}

var uuidForm = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// maxIdentity bounds what is read of an identity file.
const maxIdentity = 64

func keptUUID(path, what string) (string, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return makeUUID(path, what)
	}
	if err != nil {
		return "", fmt.Errorf("cannot read %s: %w", what, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxIdentity))
	if err != nil {
		return "", fmt.Errorf("cannot read %s: %w", what, err)
	}
	id := string(bytes.TrimSpace(data))
	if !uuidForm.MatchString(id) {
		return "", fmt.Errorf("%s holds no UUID: restore it from a backup, or remove it and the node joins as a new one", path)
	}
	return id, nil
}

// makeUUID writes a new UUID; a crash leaves either none or a whole one.
func makeUUID(path, what string) (string, error) {
	id := newUUID()
	if err := wholefile.Write(path, []byte(id), 0o600); err != nil {
		return "", fmt.Errorf("cannot keep %s in %s: %w", what, path, err)
	}
	return id, nil
}

// newUUID is a random (version 4) UUID.
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails, by its documentation
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
