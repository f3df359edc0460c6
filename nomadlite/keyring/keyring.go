// Package keyring encrypts variables and signs identities. A root key is 32 random bytes; every use
// has a key of its own, derived from it. Root keys travel through Raft and
// snapshots wrapped by the key encryption key (KEK), a file beside the server's
// state that never enters either: who has a snapshot alone reads nothing.
//
// The package does cryptography and keeps the KEK's file. It knows neither
// state nor Raft.
package keyring

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// Algorithm is how root keys encrypt (the contract's name).
const Algorithm = "aes256-gcm"

// FileName is the KEK's file in the server's data directory.
const FileName = "keyring.kek"

const keySize = 32

// ErrLocked is a root key that this server cannot unwrap.
var ErrLocked = errors.New("the keyring is locked")

// Ring holds the KEK and the root keys that were unwrapped with it. It is safe
// for concurrent use.
type Ring struct {
	path string // "" keeps the KEK in memory

	mu   sync.Mutex // guards what follows
	kek  []byte     // nil until read or made
	keys map[string]*Key
}

// Open returns the ring of a server's data directory, "" for one that lives in
// memory. A KEK is read if there is one; it is made with the first root key.
func Open(dir string) (*Ring, error) {
	r := &Ring{keys: map[string]*Key{}}
	if dir == "" {
		return r, nil
	}
	r.path = filepath.Join(dir, FileName)
	text, err := os.ReadFile(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the keyring's key: %w", err)
	}
	kek, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(kek) != keySize {
		return nil, fmt.Errorf("cannot use the keyring's key in %q: it must be %d bytes in base64; put the backup of the file there", r.path, keySize)
	}
	r.kek = kek
	return r, nil
}

// Wrapped is a root key as it is stored.
type Wrapped struct {
	ID     string
	KEK    string // names the KEK, without giving it away
	Sealed []byte
}

// New makes a root key. id must be new.
func (r *Ring) New(id string) (*Wrapped, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.ensureKEK(); err != nil {
		return nil, err
	}
	secret := random(keySize)
	sealed, err := seal(r.kek, secret, "root key "+id)
	if err != nil {
		return nil, err
	}
	return &Wrapped{ID: id, KEK: fingerprint(r.kek), Sealed: sealed}, nil
}

// ensureKEK makes the KEK and its file. The caller holds mu.
func (r *Ring) ensureKEK() error {
	if r.kek != nil {
		return nil
	}
	return r.keep(random(keySize))
}

// HasKEK reports whether there is a KEK.
func (r *Ring) HasKEK() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.kek != nil
}

// KEK is the key itself, nil for none: for another server of the region alone.
func (r *Ring) KEK() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Clone(r.kek)
}

// Make makes the KEK when there is none.
func (r *Ring) Make() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ensureKEK()
}

// Adopt takes the KEK of another server when this one has none.
func (r *Ring) Adopt(kek []byte) error {
	if len(kek) != keySize {
		return fmt.Errorf("cannot use the keyring's key of another server: it has %d bytes, want %d", len(kek), keySize)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.kek != nil {
		return nil
	}
	return r.keep(kek)
}

// keep writes the KEK's file. The caller holds mu.
func (r *Ring) keep(kek []byte) error {
	if r.path != "" {
		if err := writeOnce(r.path, []byte(base64.StdEncoding.EncodeToString(kek)+"\n")); err != nil {
			return fmt.Errorf("cannot write the keyring's key: %w", err)
		}
	}
	r.kek = kek
	return nil
}

// writeOnce makes a file that is whole and on disk, or is not there.
func writeOnce(path string, data []byte) error {
	tmp, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Key unwraps a root key.
func (r *Ring) Key(w *Wrapped) (*Key, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if k := r.keys[w.ID]; k != nil {
		return k, nil
	}
	if r.kek == nil || fingerprint(r.kek) != w.KEK {
		return nil, fmt.Errorf("%w: root key %s is wrapped by key %s, which this server does not have; restore %s from its backup and restart the server", ErrLocked, w.ID, w.KEK, FileName)
	}
	secret, err := open(r.kek, w.Sealed, "root key "+w.ID)
	if err != nil {
		return nil, fmt.Errorf("cannot unwrap root key %s: %w", w.ID, err)
	}
	k, err := newKey(w.ID, secret)
	if err != nil {
		return nil, err
	}
	r.keys[w.ID] = k
	return k, nil
}

// Key is a root key in use.
type Key struct {
	id   string
	seal []byte // of variables
	sign ed25519.PrivateKey
}

func newKey(id string, secret []byte) (*Key, error) {
	seal, err := hkdf.Key(sha256.New, secret, nil, "nomadlite variables", keySize)
	if err != nil {
		return nil, err
	}
	seed, err := hkdf.Key(sha256.New, secret, nil, "nomadlite identities", ed25519.SeedSize)
	if err != nil {
		return nil, err
	}
	return &Key{id: id, seal: seal, sign: ed25519.NewKeyFromSeed(seed)}, nil
}

// ID is the root key's id.
func (k *Key) ID() string { return k.id }

// Seal encrypts data, bound to the place where it is stored.
func (k *Key) Seal(data []byte, place string) ([]byte, error) { return seal(k.seal, data, place) }

// Open decrypts what Seal made for the same place.
func (k *Key) Open(sealed []byte, place string) ([]byte, error) { return open(k.seal, sealed, place) }

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails since Go 1.24
	return b
}

func fingerprint(key []byte) string {
	sum := sha256.Sum256(append([]byte("nomadlite kek "), key...))
	return hex.EncodeToString(sum[:6])
}

// seal encrypts by AES-256-GCM; the random nonce stands before the text.
func seal(key, data []byte, place string) ([]byte, error) {
	aead, err := newAEAD(key)
	if err != nil {
		return nil, err
	}
	nonce := random(aead.NonceSize())
	return aead.Seal(nonce, nonce, data, []byte(place)), nil
}

func open(key, sealed []byte, place string) ([]byte, error) {
	aead, err := newAEAD(key)
	if err != nil {
		return nil, err
	}
	n := aead.NonceSize()
	if len(sealed) < n {
		return nil, errors.New("the sealed text is cut short")
	}
	return aead.Open(nil, sealed[:n], sealed[n:], []byte(place))
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
