package keyring

import (
	"crypto/ecdh"
	"crypto/hpke"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/nomadlite/nomadlite/wholefile"
)

// FileName is the file of KEKs in the server's data directory: one a line, in
// base64. The first one wraps; a backup of a file is restored by adding its
// lines.
const FileName = "keyring.kek"

// maxKEKs bounds the keys of the file.
const maxKEKs = 64

// Ring holds KEKs and the root keys that were unwrapped with them. It is safe
// for concurrent use.
type Ring struct {
	path string // "" keeps the KEKs in memory

	mu   sync.Mutex // guards what follows
	keks [][]byte   // none until read, made or given
	keys map[string]*Key
	hand hpke.PrivateKey // opens what is given to this process
}

// Open returns the ring of a server's data directory, "" for one that lives in
// memory. KEKs are read if there are any; one is made with the first root key.
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
	for line := range strings.Lines(string(text)) {
		kek, err := base64.StdEncoding.DecodeString(strings.TrimSpace(line))
		if err != nil || len(kek) != keySize || len(r.keks) == maxKEKs {
			return nil, fmt.Errorf("cannot use the keyring's key in %q: it must be %d bytes in base64, one key a line and at most %d; put the backup of the file there", r.path, keySize, maxKEKs)
		}
		r.keks = append(r.keks, kek)
	}
	return r, nil
}

// Has reports whether the ring holds the KEK of that name.
func (r *Ring) Has(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.find(name) != nil
}

// find returns the KEK of a name, nil for none. The caller holds mu.
func (r *Ring) find(name string) []byte {
	for _, kek := range r.keks {
		if fingerprint(kek) == name {
			return kek
		}
	}
	return nil
}

// ensureKEK makes the first KEK and its file. The caller holds mu.
func (r *Ring) ensureKEK() error {
	if len(r.keks) > 0 {
		return nil
	}
	return r.keep(random(keySize))
}

// keep adds a KEK and writes the file. The caller holds mu.
func (r *Ring) keep(kek []byte) error {
	if len(r.keks) >= maxKEKs {
		return fmt.Errorf("cannot keep another of the keyring's keys: %q holds %d; remove what no root key needs", r.path, len(r.keks))
	}
	keks := append(slices.Clone(r.keks), kek)
	if r.path != "" {
		var text strings.Builder
		for _, one := range keks {
			text.WriteString(base64.StdEncoding.EncodeToString(one) + "\n")
		}
		if err := wholefile.Write(r.path, []byte(text.String()), 0o600); err != nil {
			return fmt.Errorf("cannot write the keyring's key: %w", err)
		}
	}
	r.keks = keks
	return nil
}

// giftInfo binds what is sealed for another server to its purpose.
const giftInfo = "nomadlite keyring key"

// Hand is the public key that others seal gifts to. It lives as long as the
// process.
func (r *Ring) Hand() ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.hand == nil {
		key, err := hpke.DHKEM(ecdh.X25519()).GenerateKey()
		if err != nil {
			return nil, fmt.Errorf("cannot make a key to receive the keyring's key with: %w", err)
		}
		r.hand = key
	}
	return r.hand.PublicKey().Bytes(), nil
}

// Give seals the KEK that wraps a root key to another server's hand: nobody
// who listens learns it.
func (r *Ring) Give(w *Wrapped, hand []byte) ([]byte, error) {
	r.mu.Lock()
	kek := r.find(w.KEK)
	r.mu.Unlock()
	if kek == nil {
		return nil, fmt.Errorf("%w: key %s is not here", ErrLocked, w.KEK)
	}
	to, err := hpke.DHKEM(ecdh.X25519()).NewPublicKey(hand)
	if err != nil {
		return nil, fmt.Errorf("cannot use the other server's key: %w", err)
	}
	return hpke.Seal(to, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(giftInfo), kek)
}

// Take keeps a KEK that another server gave. It must unwrap w, a root key of
// the state: nothing else is a KEK of this cluster.
func (r *Ring) Take(w *Wrapped, gift []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.find(w.KEK) != nil:
		return nil
	case r.hand == nil:
		return errors.New("cannot take the keyring's key of another server: it was sealed to an earlier process; try again")
	}
	kek, err := hpke.Open(r.hand, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(giftInfo), gift)
	if err != nil || len(kek) != keySize || fingerprint(kek) != w.KEK {
		return errors.New("cannot take the keyring's key of another server: it is not the one that was asked for")
	}
	if _, err := unwrap(kek, w); err != nil {
		return err
	}
	return r.keep(kek)
}
