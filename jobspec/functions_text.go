package jobspec

import (
	"crypto/md5"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"hash"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"golang.org/x/crypto/bcrypt"
)

// textFunc makes a function of one string.
func textFunc(do func(string) (string, error)) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "str", Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			out, err := do(args[0].AsString())
			return cty.StringVal(out), err
		},
	})
}

func hashFunc(h func() hash.Hash) function.Function {
	return textFunc(func(s string) (string, error) {
		sum := h()
		sum.Write([]byte(s))
		return hex.EncodeToString(sum.Sum(nil)), nil
	})
}

var (
	md5Func    = hashFunc(md5.New)
	sha1Func   = hashFunc(sha1.New)
	sha256Func = hashFunc(sha256.New)
	sha512Func = hashFunc(sha512.New)

	base64EncodeFunc = textFunc(func(s string) (string, error) {
		return base64.StdEncoding.EncodeToString([]byte(s)), nil
	})
	base64DecodeFunc = textFunc(func(s string) (string, error) {
		out, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			return "", fmt.Errorf("failed to decode base64 data %q: %w", abridged(s), err)
		}
		if !utf8.Valid(out) {
			return "", fmt.Errorf("the result of decoding the provided string is not valid UTF-8")
		}
		return string(out), nil
	})
	urlEncodeFunc = textFunc(func(s string) (string, error) { return url.QueryEscape(s), nil })

	uuidV4Func = function.New(&function.Spec{
		Type: function.StaticReturnType(cty.String),
		Impl: func([]cty.Value, cty.Type) (cty.Value, error) {
			var b [16]byte
			if _, err := rand.Read(b[:]); err != nil {
				return cty.NilVal, err
			}
			return cty.StringVal(uuidText(b, 4)), nil
		},
	})
	uuidV5Func = function.New(&function.Spec{
		Params: []function.Parameter{{Name: "namespace", Type: cty.String}, {Name: "name", Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			space, err := uuidNamespace(args[0].AsString())
			if err != nil {
				return cty.NilVal, err
			}
			sum := sha1.Sum(append(space, args[1].AsString()...))
			return cty.StringVal(uuidText([16]byte(sum[:16]), 5)), nil
		},
	})
)

func abridged(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}

func uuidText(b [16]byte, version byte) string {
	b[6] = b[6]&0x0f | version<<4
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// uuidNamespace reads a namespace by name or as a UUID; RFC 9562 section 6.6.
func uuidNamespace(s string) ([]byte, error) {
	switch s {
	case "dns", "url", "oid":
		number := map[string]string{"dns": "0", "url": "1", "oid": "2"}[s]
		s = "6ba7b81" + number + "-9dad-11d1-80b4-00c04fd430c8"
	case "x500":
		s = "6ba7b814-9dad-11d1-80b4-00c04fd430c8"
	}
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != 16 {
		return nil, fmt.Errorf("uuidv5() doesn't support namespace %q: use dns, url, oid, x500 or a UUID", abridged(s))
	}
	return b, nil
}

// maxBcryptCost keeps one call under a quarter of a second.
const maxBcryptCost = 12

func bcryptFunc(m *meter) function.Function {
	return function.New(&function.Spec{
		Params:   []function.Parameter{{Name: "str", Type: cty.String}},
		VarParam: &function.Parameter{Name: "cost", Type: cty.Number},
		Type:     function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			cost := int64(bcrypt.DefaultCost)
			if len(args) > 2 {
				return cty.NilVal, fmt.Errorf("bcrypt() takes no more than two arguments")
			}
			if len(args) == 2 {
				cost, _ = args[1].AsBigFloat().Int64()
			}
			if cost > maxBcryptCost {
				return cty.NilVal, fmt.Errorf("bcrypt() cost %d is above the limit of %d", cost, maxBcryptCost)
			}
			m.spend(4096 << max(0, cost))
			out, err := bcrypt.GenerateFromPassword([]byte(args[0].AsString()), int(cost))
			return cty.StringVal(string(out)), err
		},
	})
}

// maxPEM bounds the key that rsadecrypt reads.
const maxPEM = 7 << 10

func rsaDecryptFunc(m *meter) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "ciphertext", Type: cty.String}, {Name: "privatekey", Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			m.spend(4 << 20)
			cipher, err := base64.StdEncoding.DecodeString(args[0].AsString())
			if err != nil {
				return cty.NilVal, fmt.Errorf("failed to decode the cipher text: it must be base64")
			}
			key, err := rsaKey(args[1].AsString())
			if err != nil {
				return cty.NilVal, err
			}
			//lint:ignore SA1019 the contract's rsadecrypt is PKCS #1 v1.5; it runs where the key's owner runs it
			out, err := rsa.DecryptPKCS1v15(nil, key, cipher)
			if err != nil {
				return cty.NilVal, fmt.Errorf("failed to decrypt: %w", err)
			}
			return cty.StringVal(string(out)), nil
		},
	})
}

func rsaKey(text string) (*rsa.PrivateKey, error) {
	if len(text) > maxPEM {
		return nil, fmt.Errorf("the private key is larger than %d bytes", maxPEM)
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, fmt.Errorf("failed to parse the private key: no PEM block found")
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("failed to parse the private key: %w", err)
	}
	rsaKey, ok := key.(*rsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("the private key is not an RSA key")
	}
	return rsaKey, nil
}
