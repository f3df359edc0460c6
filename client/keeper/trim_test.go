package keeper

import (
	"os"
	"path/filepath"
	"testing"
)

// TestTrimLog: a plugin that floods its log fills no disk, and goes on writing
// to the same file.
func TestTrimLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	write := func(text string) {
		t.Helper()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	check := func(log, second string) {
		t.Helper()
		got, err := os.ReadFile(path)
		kept, _ := os.ReadFile(path + ".1")
		if err != nil || string(got) != log || string(kept) != second {
			t.Errorf("%q and %q, want %q and %q; %v", got, kept, log, second, err)
		}
	}
	trim := func() {
		t.Helper()
		if err := trimLog(path, 10); err != nil {
			t.Fatal(err)
		}
	}
	write("0123456789")
	trim()
	check("0123456789", "")
	write("abc")
	trim()
	check("", "3456789abc")
	write("next")
	trim()
	check("next", "3456789abc")
	write("and more of it")
	trim()
	check("", "more of it")
}
