package keyring

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// SigningAlgorithm is how identities are signed (RFC 8037).
const SigningAlgorithm = "EdDSA"

// maxToken bounds a token that is verified.
const maxToken = 16 << 10

// clockSkew is how far clocks of those who make and check tokens may differ.
const clockSkew = 30 * time.Second

// PublicKey verifies what the root key of the same id signed.
type PublicKey struct {
	ID  string
	Key ed25519.PublicKey
}

// jose is the header of a token.
type jose struct {
	Alg string `json:"alg"`
	Kid string `json:"kid"`
	Typ string `json:"typ"`
}

// Sign makes a JSON web token of claims.
func (k *Key) Sign(claims map[string]any) (string, error) {
	head, err := json.Marshal(jose{Alg: SigningAlgorithm, Kid: k.id, Typ: "JWT"})
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	text := encode(head) + "." + encode(body)
	return text + "." + encode(ed25519.Sign(k.sign, []byte(text))), nil
}

// Public is the key that verifies what this one signs.
func (k *Key) Public() PublicKey {
	return PublicKey{ID: k.id, Key: k.sign.Public().(ed25519.PublicKey)}
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// Verify checks a token's form, algorithm, signature and times, and returns
// its claims. It does not look at the audience.
func Verify(token string, keys []PublicKey, now time.Time) (map[string]any, error) {
	parts := strings.Split(token, ".")
	if len(token) > maxToken || len(parts) != 3 {
		return nil, errors.New("it is not a signed token")
	}
	var raw [3][]byte
	for i, p := range parts {
		var err error
		if raw[i], err = base64.RawURLEncoding.DecodeString(p); err != nil {
			return nil, errors.New("it is not a signed token")
		}
	}
	var head jose
	if err := json.Unmarshal(raw[0], &head); err != nil {
		return nil, errors.New("its header is not JSON")
	}
	if head.Alg != SigningAlgorithm {
		return nil, fmt.Errorf("its algorithm %q is not %s", head.Alg, SigningAlgorithm)
	}
	for _, k := range keys {
		if k.ID != head.Kid {
			continue
		}
		if !ed25519.Verify(k.Key, []byte(parts[0]+"."+parts[1]), raw[2]) {
			return nil, errors.New("its signature is wrong")
		}
		return checkTimes(raw[1], now)
	}
	return nil, fmt.Errorf("its key %q is not one of ours", head.Kid)
}

func checkTimes(body []byte, now time.Time) (map[string]any, error) {
	claims := map[string]any{}
	dec := json.NewDecoder(bytes.NewReader(body))
	if err := dec.Decode(&claims); err != nil {
		return nil, errors.New("its claims are not JSON")
	}
	at := func(name string) (time.Time, bool) {
		n, ok := claims[name].(float64)
		return time.Unix(int64(n), 0), ok
	}
	if exp, ok := at("exp"); ok && now.After(exp.Add(clockSkew)) {
		return nil, fmt.Errorf("it expired at %s", exp.UTC().Format(time.RFC3339))
	}
	if nbf, ok := at("nbf"); ok && now.Add(clockSkew).Before(nbf) {
		return nil, fmt.Errorf("it is not valid before %s", nbf.UTC().Format(time.RFC3339))
	}
	return claims, nil
}
