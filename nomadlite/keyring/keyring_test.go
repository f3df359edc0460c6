package keyring

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func open1(t *testing.T, dir string) *Ring {
	t.Helper()
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRootKeySurvivesARestartWithItsKEKAlone(t *testing.T) {
	dir := t.TempDir()
	w, err := open1(t, dir).New("key-1", "")
	if err != nil {
		t.Fatal(err)
	}
	k, err := open1(t, dir).Key(w)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := k.Seal([]byte("secret"), "default/db")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, []byte("secret")) {
		t.Error("the text is readable")
	}
	again, err := open1(t, dir).Key(w)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := again.Open(sealed, "default/db"); err != nil || string(got) != "secret" {
		t.Errorf("got %q, %v", got, err)
	}
	info, err := os.Stat(filepath.Join(dir, FileName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the KEK's file: %v, %v", info.Mode(), err)
	}
}

func TestSealedTextIsBoundToItsPlace(t *testing.T) {
	r := open1(t, "")
	w, err := r.New("key-1", "")
	if err != nil {
		t.Fatal(err)
	}
	k, err := r.Key(w)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := k.Seal([]byte("secret"), "default/a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Open(sealed, "default/b"); err == nil {
		t.Error("a variable moved to another path was opened")
	}
	sealed[len(sealed)-1] ^= 1
	if _, err := k.Open(sealed, "default/a"); err == nil {
		t.Error("a changed text was opened")
	}
	if _, err := k.Open(sealed[:4], "default/a"); err == nil {
		t.Error("a cut text was opened")
	}
}

// TestD10LockedWithoutKEK: row D-10, a restored snapshot without its KEK.
func TestD10LockedWithoutKEK(t *testing.T) {
	w, err := open1(t, t.TempDir()).New("key-1", "")
	if err != nil {
		t.Fatal(err)
	}
	other := open1(t, t.TempDir())
	if _, err := other.Key(w); !errors.Is(err, ErrLocked) {
		t.Errorf("without a KEK: %v", err)
	}
	if _, err := other.New("key-2", ""); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Key(w); !errors.Is(err, ErrLocked) {
		t.Errorf("with another KEK: %v", err)
	}
}

// TestGift: a KEK goes to another server sealed, and is kept only when it
// unwraps the root key that it is for.
func TestGift(t *testing.T) {
	dir := t.TempDir()
	a, b, c := open1(t, ""), open1(t, dir), open1(t, "")
	w, err := a.New("key-1", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.New("own", ""); err != nil { // it has one of its own already
		t.Fatal(err)
	}
	hand, err := b.Hand()
	if err != nil {
		t.Fatal(err)
	}
	gift, err := a.Give(w, hand)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Hand(); err != nil {
		t.Fatal(err)
	}
	if err := c.Take(w, gift); err == nil {
		t.Error("another server opened the gift")
	}
	if err := b.Take(&Wrapped{ID: "key-2", KEK: w.KEK, Sealed: w.Sealed}, gift); err == nil {
		t.Error("a key was kept that does not unwrap the root key")
	}
	if _, err := c.Give(w, hand); !errors.Is(err, ErrLocked) {
		t.Errorf("gave what it does not have: %v", err)
	}
	for range 2 { // again is as once
		if err := b.Take(w, gift); err != nil {
			t.Fatal(err)
		}
	}
	again := open1(t, dir)
	if _, err := again.Key(w); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	if next, err := again.New("key-3", w.KEK); err != nil || next.KEK != w.KEK {
		t.Errorf("the KEK in use is not preferred: %+v, %v", next, err)
	}
}

func TestBrokenKEKIsNamed(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, FileName), []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil {
		t.Error("a broken KEK was taken")
	}
}
