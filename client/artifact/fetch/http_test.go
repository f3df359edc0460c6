package fetch

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func remote(t *testing.T, address string, options map[string]string) (*job, string) {
	t.Helper()
	s, err := ParseSource(address, options)
	if err != nil {
		t.Fatal(err)
	}
	work := t.TempDir()
	root, err := os.OpenRoot(work)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	limits := roomy
	limits.Idle = time.Minute
	return &job{Request: &Request{Source: s, Mode: "any", Dir: work, Limits: limits, Inspect: true, Deny: []netip.Prefix{netip.MustParsePrefix("169.254.0.0/16")}}, root: root}, work
}

// TestHTTP_N22_X11: where a server may lead us, what it may send, and what it
// hears of us.
func TestHTTP_N22_X11(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "key=%q", r.Header.Get("X-Key"))
	}))
	defer other.Close()
	mux := http.NewServeMux()
	to := func(path, where string) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, where, http.StatusFound) })
	}
	to("/loop", "/loop")
	to("/file", "file:///etc/passwd")
	to("/metadata", "http://169.254.169.254/latest")
	to("/mapped", "http://[::ffff:169.254.169.254]/latest")
	to("/other", other.URL)
	mux.HandleFunc("/ok", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "key=%q", r.Header.Get("X-Key")) })
	mux.HandleFunc("/header", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Terraform-Get", "file:///etc")
		fmt.Fprint(w, "<meta name=terraform-get content=file:///etc>")
	})
	mux.HandleFunc("/short", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, "x")
	})
	mux.HandleFunc("/forbidden", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusForbidden) })
	mux.HandleFunc("/busy", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	srv := httptest.NewServer(mux)
	defer srv.Close()
	for path, c := range map[string]struct {
		want, err string
		passing   bool
	}{
		"/ok":        {want: `key="secret"`},
		"/other":     {want: `key=""`}, // another host
		"/header":    {want: "<meta name=terraform-get content=file:///etc>"},
		"/loop":      {err: "more than 10 redirects"},
		"/file":      {err: `scheme "file"`},
		"/metadata":  {err: "169.254.169.254 is not allowed"},
		"/mapped":    {err: "169.254.169.254 is not allowed"},
		"/short":     {err: "broke off", passing: true},
		"/forbidden": {err: "403 Forbidden"},
		"/busy":      {err: "503", passing: true},
		"/none":      {err: "404", passing: true},
	} {
		j, work := remote(t, srv.URL+path+"?password=hidden", nil)
		j.Headers = map[string]string{"X-Key": "secret"}
		_, err := j.do(t.Context(), func(error) {})
		got, _ := os.ReadFile(filepath.Join(work, FileName))
		if c.err == "" && (err != nil || string(got) != c.want) {
			t.Errorf("%s: %q (%v)", path, got, err)
		}
		if _, passes := err.(passing); c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "hidden") || passes != c.passing) {
			t.Errorf("%s: %v (passing %t), want %q", path, err, passes, c.err)
		}
	}
	for _, address := range []string{"http://169.254.169.254/x", "http://[::ffff:169.254.169.254]/x", "http://2852039166/x", "http://0xa9fea9fe/"} {
		j, _ := remote(t, address, nil)
		if _, err := j.do(t.Context(), func(error) {}); err == nil || strings.Contains(err.Error(), "answered") {
			t.Errorf("%s: %v", address, err)
		}
	}
	w := &web{}
	if err := w.allow(netip.MustParseAddr("192.0.2.1")); err != nil {
		t.Error(err)
	}
	w.redirected.Store(true)
	if err := w.allow(netip.MustParseAddr("127.0.0.1")); err == nil {
		t.Error("a redirect from elsewhere may lead to this machine")
	}
}

func TestChecksum(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "content") }))
	defer srv.Close()
	sum := sha256.Sum256([]byte("content"))
	j, _ := remote(t, srv.URL+"/x", map[string]string{"checksum": "sha256:" + hex.EncodeToString(sum[:])})
	if _, err := j.do(t.Context(), func(error) {}); err != nil {
		t.Error(err)
	}
	j, _ = remote(t, srv.URL+"/x", map[string]string{"checksum": "md5:" + hex32})
	if _, err := j.do(t.Context(), func(error) {}); err == nil || !strings.Contains(err.Error(), "md5 of the file is 9a0364b9e99bb480dd25e1f0284c8555") {
		t.Error(err)
	}
}

// TestS3: signed requests, single objects and folders of them.
func TestS3(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Authorization"), "Credential=ID/") {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		switch {
		case r.URL.Path == "/b/" && r.URL.Query().Get("continuation-token") == "":
			fmt.Fprint(w, `<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>n</NextContinuationToken><Contents><Key>dir/a b</Key></Contents><Contents><Key>dir/</Key></Contents></ListBucketResult>`)
		case r.URL.Path == "/b/":
			fmt.Fprint(w, `<ListBucketResult><Contents><Key>dir/sub/c</Key></Contents></ListBucketResult>`)
		case r.URL.Path == "/b/dir":
			w.WriteHeader(http.StatusNotFound)
		default:
			fmt.Fprint(w, r.URL.Path)
		}
	}))
	defer srv.Close()
	keys := map[string]string{"aws_access_key_id": "ID", "aws_access_key_secret": "S"}
	j, work := remote(t, "s3::"+srv.URL+"/b/one", keys)
	if _, err := j.do(t.Context(), func(error) {}); err != nil {
		t.Error(err)
	}
	if got, _ := os.ReadFile(filepath.Join(work, FileName)); string(got) != "/b/one" {
		t.Errorf("object: %q", got)
	}
	j, work = remote(t, "s3::"+srv.URL+"/b/dir", keys)
	if rep, err := j.do(t.Context(), func(error) {}); err != nil || !rep.Tree {
		t.Errorf("%+v %v", rep, err)
	}
	for _, name := range []string{"a b", "sub/c"} {
		if got, _ := os.ReadFile(filepath.Join(work, TreeName, name)); string(got) != "/b/dir/"+name {
			t.Errorf("%s: %q", name, got)
		}
	}
	j, _ = remote(t, "s3::"+srv.URL+"/b/one", nil)
	if _, err := j.do(t.Context(), func(error) {}); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("without keys: %v", err)
	}
}
