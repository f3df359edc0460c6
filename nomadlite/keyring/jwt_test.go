package keyring

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"
)

// TestTokens: a token verifies with the key that signed it, for its time, and
// nothing that was changed about it does.
func TestTokens(t *testing.T) {
	r, err := Open("")
	if err != nil {
		t.Fatal(err)
	}
	key := func(id string) *Key {
		w, err := r.New(id, "")
		if err != nil {
			t.Fatal(err)
		}
		k, err := r.Key(w)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	ours, other := key("one"), key("two")
	now := time.Unix(1_800_000_000, 0)
	token, err := ours.Sign(map[string]any{"sub": "x", "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix()})
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(token, ".")
	head := func(text string) string {
		return base64.RawURLEncoding.EncodeToString([]byte(text)) + "." + parts[1] + "." + parts[2]
	}
	keys := []PublicKey{other.Public(), ours.Public()}
	for _, tc := range []struct {
		name, token string
		at          time.Duration
		keys        []PublicKey
		want        string // "" is accepted
	}{
		{"fresh", token, time.Minute, keys, ""},
		{"a clock behind", token, -20 * time.Second, keys, ""},
		{"early", token, -time.Minute, keys, "it is not valid before"},
		{"expired", token, 2 * time.Hour, keys, "it expired at"},
		{"unknown key", token, 0, keys[:1], `its key "one" is not one of ours`},
		{"no algorithm", head(`{"alg":"none","kid":"one"}`), 0, keys, `its algorithm "none" is not EdDSA`},
		{"another algorithm", head(`{"alg":"HS256","kid":"one"}`), 0, keys, `its algorithm "HS256"`},
		{"another key's name", head(`{"alg":"EdDSA","kid":"two","typ":"JWT"}`), 0, keys, "its signature is wrong"},
		{"other claims", parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"y"}`)) + "." + parts[2], 0, keys, "its signature is wrong"},
		{"unsigned", parts[0] + "." + parts[1] + ".", 0, keys, "its signature is wrong"},
		{"cut", parts[0] + "." + parts[1], 0, keys, "it is not a signed token"},
		{"not base64", "a.b!.c", 0, keys, "it is not a signed token"},
		{"long", strings.Repeat("a", maxToken) + ".b.c", 0, keys, "it is not a signed token"},
	} {
		claims, err := Verify(tc.token, tc.keys, now.Add(tc.at))
		if tc.want == "" && (err != nil || claims["sub"] != "x") || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: %v, %v, want %q", tc.name, claims, err, tc.want)
		}
	}
}

// FuzzVerify: no token panics, and none is accepted without our signature.
func FuzzVerify(f *testing.F) {
	r, _ := Open("")
	w, err := r.New("k", "")
	if err != nil {
		f.Fatal(err)
	}
	k, err := r.Key(w)
	if err != nil {
		f.Fatal(err)
	}
	good, err := k.Sign(map[string]any{"sub": "x"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, token string) {
		if _, err := Verify(token, []PublicKey{k.Public()}, time.Now()); err == nil && token != good {
			t.Errorf("accepted %q", token)
		}
	})
}
