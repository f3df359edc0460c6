// Package keyring encrypts variables and signs identities. A root key is 32 random bytes; every use
// has a key of its own, derived from it. Root keys travel through Raft and
// snapshots wrapped by a key encryption key (KEK), a file beside the server's
// state that never enters either: who has a snapshot alone reads nothing.
// Servers of a cluster give each other their KEKs, sealed to the receiver.
//
// The package does cryptography and keeps the file of KEKs. It knows neither
// state nor Raft, and dials nobody.
package keyring

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// Algorithm is how root keys encrypt (the contract's name).
const Algorithm = "aes256-gcm"

const keySize = 32

// ErrLocked is a root key that this server cannot unwrap.
var ErrLocked = errors.New("the keyring is locked")

// Wrapped is a root key as it is stored.
type Wrapped struct {
	ID     string
	KEK    string // names the KEK, without giving it away
	Sealed []byte
}

// New makes a root key. id must be new. It is wrapped by the KEK that prefer
// names, by the first one when that is not here; the first use makes one.
func (r *Ring) New(id, prefer string) (*Wrapped, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.ensureKEK(); err != nil {
		return nil, err
	}
	kek := r.find(prefer)
	if kek == nil {
		kek = r.keks[0]
	}
	sealed, err := seal(kek, random(keySize), "root key "+id)
	if err != nil {
		return nil, err
	}
	return &Wrapped{ID: id, KEK: fingerprint(kek), Sealed: sealed}, nil
}

// Key unwraps a root key.
func (r *Ring) Key(w *Wrapped) (*Key, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if k := r.keys[w.ID]; k != nil {
		return k, nil
	}
	kek := r.find(w.KEK)
	if kek == nil {
		return nil, fmt.Errorf("%w: root key %s is wrapped by key %s, which this server does not have; restore %s from its backup and restart the server", ErrLocked, w.ID, w.KEK, FileName)
	}
	k, err := unwrap(kek, w)
	if err != nil {
		return nil, err
	}
	r.keys[w.ID] = k
	return k, nil
}

func unwrap(kek []byte, w *Wrapped) (*Key, error) {
	secret, err := open(kek, w.Sealed, "root key "+w.ID)
	if err != nil {
		return nil, fmt.Errorf("cannot unwrap root key %s: %w", w.ID, err)
	}
	return newKey(w.ID, secret)
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
