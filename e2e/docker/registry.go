package docker

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"time"
)

// Registry is a registry on loopback that holds one image under any name.
// Without a user it asks for no credentials.
type Registry struct {
	*httptest.Server
	User, Password string
	Pulls          atomic.Int64  // of the layer
	Delay          time.Duration // before the layer

	blobs    map[string][]byte
	manifest []byte
}

// NewRegistry serves the suite's busybox.
func NewRegistry(user, password string) (*Registry, error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	var layer bytes.Buffer
	zip := gzip.NewWriter(&layer)
	if _, err := zip.Write(root); err != nil {
		return nil, err
	}
	if err := zip.Close(); err != nil {
		return nil, err
	}
	config, err := json.Marshal(map[string]any{
		"architecture": "amd64", "os": "linux", "config": map[string]any{"Cmd": []string{"/bin/busybox", "sleep", "100000000"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digest(root)}},
	})
	if err != nil {
		return nil, err
	}
	r := &Registry{User: user, Password: password, blobs: map[string][]byte{digest(config): config, digest(layer.Bytes()): layer.Bytes()}}
	const media = "application/vnd.docker."
	r.manifest, err = json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": media + "distribution.manifest.v2+json",
		"config": map[string]any{"mediaType": media + "container.image.v1+json", "size": len(config), "digest": digest(config)},
		"layers": []any{map[string]any{"mediaType": media + "image.rootfs.diff.tar.gzip", "size": layer.Len(), "digest": digest(layer.Bytes())}},
	})
	if err != nil {
		return nil, err
	}
	r.Server = httptest.NewServer(http.HandlerFunc(r.serve))
	return r, nil
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Name is an image's name at the registry.
func (r *Registry) Name(image string) string {
	return strings.TrimPrefix(r.URL, "http://") + "/" + image
}

func (r *Registry) serve(w http.ResponseWriter, req *http.Request) {
	user, password, _ := req.BasicAuth()
	if r.User != "" && (user != r.User || password != r.Password) {
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
		return
	}
	name := req.URL.Path[strings.LastIndex(req.URL.Path, "/")+1:]
	switch {
	case req.URL.Path == "/v2/":
	case strings.Contains(req.URL.Path, "/manifests/") && (name == "1" || name == "latest" || name == digest(r.manifest)):
		w.Header().Set("Content-Type", "application/vnd.docker.distribution.manifest.v2+json")
		w.Header().Set("Docker-Content-Digest", digest(r.manifest))
		w.Header().Set("Content-Length", fmt.Sprint(len(r.manifest)))
		_, _ = w.Write(r.manifest)
	case strings.Contains(req.URL.Path, "/blobs/") && r.blobs[name] != nil:
		if len(r.blobs[name]) > 10_000 {
			r.Pulls.Add(1)
			time.Sleep(r.Delay) // a slow network
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(r.blobs[name])))
		_, _ = w.Write(r.blobs[name])
	default:
		http.Error(w, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}`, http.StatusNotFound)
	}
}
