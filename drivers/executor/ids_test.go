package executor

import (
	"strings"
	"testing"
)

func TestParseIDs(t *testing.T) {
	got, err := parseIDs("f", "0, 10-20,")
	if err != nil || !within(got, 0) || !within(got, 15) || within(got, 21) {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"x", "5-1", "-1", "4294967296", "1-2-3"} {
		if _, err := parseIDs("f", bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

// TestUserNames_X05: a user is resolved to its number before it is judged, and
// what is neither a name nor a number is no user.
func TestUserNames_X05(t *testing.T) {
	denied := DeniedIDs{}.DenyRoot()
	for _, name := range []string{"root", "0", "", "00", "+0", "#0", "-1", "root ", "0:0", "4294967296", "4294967295"} {
		if cred, err := Credential(name, denied); err == nil {
			t.Errorf("user %q is let in as %+v", name, cred)
		}
	}
	// Nor are odd spellings users where root is allowed: what one build refuses,
	// another must not take.
	for _, name := range []string{"00", "000", "+0", "-0", "0x0", "0 ", " 0", "#0", "0:0", "root:root", "065534", "+65534", "-1", "4294967295", "4294967296", "18446744073709551616", "nobody\x00", "\u0660"} {
		if cred, err := Credential(name, DeniedIDs{}); err == nil {
			t.Errorf("user %q is taken for %+v", name, cred)
		}
	}
	for _, name := range []string{"root", "0"} {
		if cred, err := Credential(name, DeniedIDs{}); err != nil || cred.Uid != 0 {
			t.Errorf("user %q: %+v, %v", name, cred, err)
		}
	}
	cred, err := Credential("nobody", denied)
	if err != nil || cred.Uid == 0 {
		t.Errorf("nobody: %+v, %v", cred, err)
	}
	for _, g := range cred.Groups {
		if g == 0 {
			t.Errorf("nobody is of the groups %v", cred.Groups)
		}
	}
	if _, err := Credential("", DeniedIDs{}); err != nil {
		t.Error(err)
	}
	if _, err := Credential("no-such-user", DeniedIDs{}); err == nil || !strings.Contains(err.Error(), "no-such-user") {
		t.Errorf("%v", err)
	}
}
