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
	"runtime"
	"strings"
	"sync/atomic"
	"time"
)

// Registry is a registry on loopback that holds a few images under any name, by
// their tags. Without a user it asks for no credentials.
type Registry struct {
	*httptest.Server
	User, Password string
	Pulls          atomic.Int64  // of layers
	Delay          time.Duration // before a layer

	blobs     map[string][]byte
	manifests map[string][]byte // by tag and by digest
}

const media = "application/vnd.docker."

// NewRegistry serves the suite's busybox, as 1 and latest.
func NewRegistry(user, password string) (*Registry, error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	r := &Registry{User: user, Password: password, blobs: map[string][]byte{}, manifests: map[string][]byte{}}
	if err := r.Add(root, true, "1", "latest"); err != nil {
		return nil, err
	}
	r.Server = httptest.NewServer(http.HandlerFunc(r.serve))
	return r, nil
}

// Add makes an image of one layer, which is an archive; packed says that it
// travels compressed.
func (r *Registry) Add(layer []byte, packed bool, tags ...string) error {
	sent, typ := layer, media+"image.rootfs.diff.tar"
	if packed {
		var out bytes.Buffer
		zip, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
		if err != nil {
			return err
		}
		if _, err := zip.Write(layer); err != nil {
			return err
		}
		if err := zip.Close(); err != nil {
			return err
		}
		sent, typ = out.Bytes(), typ+".gzip"
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "config": map[string]any{"Cmd": []string{"/bin/busybox", "sleep", "100000000"}, "Labels": map[string]string{"tags": fmt.Sprint(tags)}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digest(layer)}},
	})
	if err != nil {
		return err
	}
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": media + "distribution.manifest.v2+json",
		"config": map[string]any{"mediaType": media + "container.image.v1+json", "size": len(config), "digest": digest(config)},
		"layers": []any{map[string]any{"mediaType": typ, "size": len(sent), "digest": digest(sent)}},
	})
	if err != nil {
		return err
	}
	r.blobs[digest(config)], r.blobs[digest(sent)] = config, sent
	for _, name := range append(tags, digest(manifest)) {
		r.manifests[name] = manifest
	}
	return nil
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
	case strings.Contains(req.URL.Path, "/manifests/") && r.manifests[name] != nil:
		manifest := r.manifests[name]
		w.Header().Set("Content-Type", media+"distribution.manifest.v2+json")
		w.Header().Set("Docker-Content-Digest", digest(manifest))
		w.Header().Set("Content-Length", fmt.Sprint(len(manifest)))
		_, _ = w.Write(manifest)
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
