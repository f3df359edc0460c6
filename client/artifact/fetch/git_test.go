package fetch

import (
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// gitServer serves the repositories of a folder by HTTP.
func gitServer(t *testing.T, dir string) string {
	t.Helper()
	out, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Skip("git is not installed")
	}
	srv := httptest.NewServer(&cgi.Handler{Path: filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"), Env: []string{"GIT_PROJECT_ROOT=" + dir, "GIT_HTTP_EXPORT_ALL=1"}})
	t.Cleanup(srv.Close)
	return srv.URL
}

func gitIn(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b", "GIT_ALLOW_PROTOCOL=file:http")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

// repository makes a repository of files; values that begin with "->" are
// links.
func repository(t *testing.T, base, name string, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(base, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	gitIn(t, dir, "init", "-q", "-b", "main")
	for name, text := range files {
		at := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(at), 0o755)
		if target, link := strings.CutPrefix(text, "->"); link && err == nil {
			err = os.Symlink(target, at)
		} else if err == nil {
			err = os.WriteFile(at, []byte(text), 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	gitIn(t, dir, "add", "-A")
	gitIn(t, dir, "commit", "-q", "-m", "one")
	gitIn(t, dir, "tag", "v1")
	return dir
}

// TestGit_X22: a repository is only data. Whatever it brings, none of it runs,
// and none of it leads outside.
func TestGit_X22(t *testing.T) {
	base, marker := t.TempDir(), filepath.Join(t.TempDir(), "ran")
	url := gitServer(t, base)
	inner := repository(t, base, "inner", map[string]string{"in.txt": "inner"})
	hooks := repository(t, base, "plain", map[string]string{
		"a/b.txt": "one", ".gitattributes": "* filter=evil", "hooks/post-checkout": "#!/bin/sh\ntouch " + marker,
		".gitconfig": "[filter \"evil\"]\n\tsmudge = touch " + marker,
	})
	if err := os.WriteFile(filepath.Join(hooks, "a/b.txt"), []byte("two"), 0o600); err != nil {
		t.Fatal(err)
	}
	gitIn(t, hooks, "commit", "-qam", "two")
	repository(t, base, "links", map[string]string{"x": "->/etc/passwd"})
	withFile := repository(t, base, "submodule-file", map[string]string{"f": "x"})
	gitIn(t, withFile, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "file://"+inner, "sub")
	gitIn(t, withFile, "commit", "-qm", "sub")
	withHTTP := repository(t, base, "submodule-http", map[string]string{"f": "x"})
	gitIn(t, withHTTP, "submodule", "--quiet", "add", url+"/inner/.git", "sub")
	gitIn(t, withHTTP, "commit", "-qm", "sub")

	for _, c := range []struct{ source, mode, file, want, err string }{
		{source: "/plain/.git", file: "a/b.txt", want: "two"},
		{source: "/plain/.git?ref=v1", file: "a/b.txt", want: "one"},
		{source: "/plain/.git?ref=v1&depth=1", file: "a/b.txt", want: "one"},
		{source: "/plain/.git//a?ref=main", file: "b.txt", want: "two"},
		{source: "/plain/.git//none", err: `no directory "none"`},
		{source: "/plain/.git?ref=nowhere", err: "git fetch: "},
		{source: "/plain/.git", mode: "file", err: "mode file wants one file"},
		{source: "/links/.git", err: "symlink that resolves outside of sandbox"},
		{source: "/submodule-file/.git", err: "transport 'file' not allowed"},
		{source: "/submodule-http/.git", file: "sub/in.txt", want: "inner"},
	} {
		j, work := remote(t, "git::"+url+c.source, nil)
		if c.mode != "" {
			j.Mode = c.mode
		}
		_, err := j.do(t.Context(), func(error) {})
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, want %q", c.source, err, c.err)
			}
			continue
		}
		got, _ := os.ReadFile(filepath.Join(work, TreeName, c.file))
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %q (%v), want %q", c.source, got, err, c.want)
		}
	}
	if _, err := os.Stat(marker); err == nil {
		t.Error("something of a repository ran")
	}
	// The limit on what is downloaded holds for git too.
	j, _ := remote(t, "git::"+url+"/plain/.git", nil)
	j.Limits.Download = 100
	if _, err := j.do(t.Context(), func(error) {}); err == nil {
		t.Error("a clone may be larger than the limit")
	}
	// And so does the one on addresses.
	j, _ = remote(t, "git::http://169.254.169.254/r", nil)
	if _, err := j.do(t.Context(), func(error) {}); err == nil || !strings.Contains(err.Error(), "git fetch") {
		t.Errorf("metadata: %v", err)
	}
}
