package member

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/hashicorp/memberlist"

	"github.com/nomadlite/nomadlite/wholefile"
)

// KeyringFile is the file of gossip keys in an agent's directory (the
// contract's name).
const KeyringFile = "serf.keyring"

// Keys are the keys of gossip: the first one encrypts, all decrypt. They are
// kept in a file of mode 0600.
type Keys struct {
	path string // "" keeps them in memory
	ring *memberlist.Keyring

	mu sync.Mutex // makes a change and its file one
}

// OpenKeys reads the keys of a directory, "" for memory. encrypt is the key of
// the configuration, base64; it is used only when the file has none, by the
// contract. Without any key the result is nil: gossip is in clear.
func OpenKeys(dir, encrypt string) (*Keys, error) {
	k := &Keys{}
	var keys [][]byte
	if dir != "" {
		k.path = filepath.Join(dir, KeyringFile)
		text, err := os.ReadFile(k.path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("cannot read the gossip keys: %w", err)
		}
		if keys, err = parseKeys(text); err != nil {
			return nil, fmt.Errorf("cannot use the gossip keys in %q: %w", k.path, err)
		}
	}
	if len(keys) == 0 && encrypt == "" {
		return nil, nil
	}
	if len(keys) == 0 {
		key, err := ParseKey(encrypt)
		if err != nil {
			return nil, fmt.Errorf("cannot use encrypt: %w", err)
		}
		keys = [][]byte{key}
	}
	ring, err := memberlist.NewKeyring(keys, keys[0])
	if err != nil {
		return nil, err
	}
	k.ring = ring
	return k, k.save()
}

func parseKeys(text []byte) ([][]byte, error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, nil
	}
	var list []string
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, err
	}
	var keys [][]byte
	for _, s := range list {
		key, err := ParseKey(s)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// ParseKey reads a key: 16, 24 or 32 bytes in base64. The key is no part of
// the error.
func ParseKey(s string) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return nil, errors.New("a gossip key must be base64; make one with: operator gossip keyring generate")
	}
	if err := memberlist.ValidateKey(key); err != nil {
		return nil, fmt.Errorf("a gossip key must be 16, 24 or 32 bytes in base64, this one has %d; make one with: operator gossip keyring generate", len(key))
	}
	return key, nil
}

// List is the keys, in base64, the one in use first.
func (k *Keys) List() []string {
	var out []string
	for _, key := range k.ring.GetKeys() {
		out = append(out, base64.StdEncoding.EncodeToString(key))
	}
	return out
}

// Install adds a key that decrypts.
func (k *Keys) Install(key string) error { return k.change(key, k.ring.AddKey) }

// Use makes an installed key the one that encrypts.
func (k *Keys) Use(key string) error { return k.change(key, k.ring.UseKey) }

// Remove forgets a key that is not in use.
func (k *Keys) Remove(key string) error { return k.change(key, k.ring.RemoveKey) }

func (k *Keys) change(key string, do func([]byte) error) error {
	raw, err := ParseKey(key)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := do(raw); err != nil {
		return err
	}
	return k.save()
}

// save writes the file, whole or not at all.
func (k *Keys) save() error {
	if k.path == "" {
		return nil
	}
	text, err := json.Marshal(k.List())
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(k.path), 0o700); err != nil {
		return fmt.Errorf("cannot keep the gossip keys: %w", err)
	}
	if err := wholefile.Write(k.path, text, 0o600); err != nil {
		return fmt.Errorf("cannot keep the gossip keys: %w", err)
	}
	return nil
}
