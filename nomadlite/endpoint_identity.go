package nomadlite

import (
	"context"
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/nomadlite/keyring"
	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// keySet is a JSON web key set (RFC 7517).
type keySet struct {
	Keys []webKey `json:"keys"`
}

type webKey struct {
	Use string `json:"use"`
	Kty string `json:"kty"`
	Crv string `json:"crv"`
	Kid string `json:"kid"`
	Alg string `json:"alg"`
	X   string `json:"x"`
}

// keySetAge is how long others may keep the key set: a new key signs nothing
// before it is in the state, so that a verifier that misses one asks again.
const keySetAge = "max-age=60"

func (e *endpoints) keySet(ctx context.Context, r *api.Request) (*api.Response, error) {
	keys, index := tables(state.TableRootKeys)
	return e.read(ctx, r, view{keys, index, func(*state.Snapshot) (*api.Response, error) {
		public, err := e.ops.publicKeys()
		if err != nil {
			return nil, err
		}
		set := keySet{Keys: []webKey{}}
		for _, k := range public {
			set.Keys = append(set.Keys, webKey{Use: "sig", Kty: "OKP", Crv: "Ed25519", Kid: k.ID, Alg: keyring.SigningAlgorithm, X: base64.RawURLEncoding.EncodeToString(k.Key)})
		}
		return &api.Response{Body: set, Header: http.Header{"Cache-Control": {keySetAge}}}, nil
	}})
}

// discovery is what an OpenID Connect client reads first.
type discovery struct {
	Issuer        string   `json:"issuer"`
	JWKS          string   `json:"jwks_uri"`
	IDTokenAlgs   []string `json:"id_token_signing_alg_values_supported"`
	ResponseTypes []string `json:"response_types_supported"`
	Subjects      []string `json:"subject_types_supported"`
}

func (e *endpoints) discovery(context.Context, *api.Request) (*api.Response, error) {
	issuer := strings.TrimSuffix(e.issuer, "/")
	if issuer == "" {
		return nil, structs.Errorf(structs.NotFound, "OIDC Discovery endpoint disabled")
	}
	return body(&discovery{
		Issuer: e.issuer, JWKS: issuer + "/.well-known/jwks.json", IDTokenAlgs: []string{keyring.SigningAlgorithm},
		ResponseTypes: []string{"code"}, Subjects: []string{"public"},
	})
}
