package fetch

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestParseSource(t *testing.T) {
	sum := strings.Repeat("ab", 32)
	for _, c := range []struct {
		source  string
		options map[string]string
		want    Source
	}{
		{"https://e.com/a/b.tar.gz?checksum=sha256:" + sum + "&token=1", nil,
			Source{Getter: "http", URL: "https://e.com/a/b.tar.gz?token=1", Filename: "b.tar.gz", Archive: "tar.gz", Sum: Checksum{"sha256", sum}}},
		{"https://e.com/x?y=1", map[string]string{"archive": "zip", "checksum": sum, "filename": "z"},
			Source{Getter: "http", URL: "https://e.com/x?y=1", Filename: "z", Archive: "zip", Sum: Checksum{"sha256", sum}}},
		{"https://e.com/x.ZIP", map[string]string{"archive": "false"}, Source{Getter: "http", URL: "https://e.com/x.ZIP", Filename: "x.ZIP"}},
		{"https://e.com/x.tgz//dist/bin?v=2", nil, Source{Getter: "http", URL: "https://e.com/x.tgz?v=2", Subdir: "dist/bin", Filename: "x.tgz", Archive: "tar.gz"}},
		{"github.com/org/repo", nil, Source{Getter: "git", URL: "https://github.com/org/repo", Filename: "repo"}},
		{"github.com/org/repo/sub/dir?ref=v1.2", nil, Source{Getter: "git", URL: "https://github.com/org/repo", Subdir: "sub/dir", Filename: "repo", Ref: "v1.2"}},
		{"git::https://e.com/r.git//sub?depth=3&ref=main", nil, Source{Getter: "git", URL: "https://e.com/r.git", Subdir: "sub", Filename: "r.git", Ref: "main", Depth: 3}},
		{"git@github.com:org/repo.git//a", map[string]string{"sshkey": "a2V5"}, Source{Getter: "git", URL: "ssh://git@github.com/org/repo.git", Subdir: "a", Filename: "repo.git", SSHKey: "key"}},
		{"git::git@e.com:org/repo.git", nil, Source{Getter: "git", URL: "ssh://git@e.com/org/repo.git", Filename: "repo.git"}},
		{"s3::https://s3.amazonaws.com/b/k.zip", map[string]string{"aws_access_key_id": "I", "aws_access_key_secret": "S", "region": "eu-west-1"},
			Source{Getter: "s3", URL: "https://s3.amazonaws.com/b/k.zip", Filename: "k.zip", Archive: "zip", Keys: Keys{ID: "I", Secret: "S"}, Region: "eu-west-1"}},
		{"b.s3-eu-west-1.amazonaws.com/k", nil, Source{Getter: "s3", URL: "https://b.s3-eu-west-1.amazonaws.com/k", Filename: "k"}},
		{"/srv/a.txt", nil, Source{Getter: "file", URL: "file:///srv/a.txt", Filename: "a.txt"}},
	} {
		got, err := ParseSource(c.source, c.options)
		if err != nil || *got != c.want {
			t.Errorf("%s:\n got %+v (%v)\nwant %+v", c.source, got, err, c.want)
		}
	}
}

// TestSources_N22: what a source may not do is refused before anything is
// dialled, and no secret of it is in the error.
func TestSources_N22(t *testing.T) {
	for source, want := range map[string]string{
		"gopher://e.com/x":                                "scheme \"gopher\"",
		"git::ext::sh -c id":                              "two getters",
		"git::file:///etc":                                "does not take",
		"http::file:///etc/passwd":                        "does not take",
		"git::ssh://-oProxyCommand=id/x":                  "no host",
		"git::https://e.com/r?ref=--upload-pack=id":       "no branch, tag or commit",
		"git::https://e.com/r?depth=-1":                   "above 0",
		"git::https://e.com/r?sshkey=!":                   "base64",
		"git::https://e.com/r?checksum=md5:" + hex32:      "no checksum",
		"https://e.com/a?checksum=file:https://e.com/sum": "is not fetched",
		"https://e.com/a?checksum=sha256:abc":             "is not one of",
		"https://e.com/a.tgz//../../etc":                  "leaves what is fetched",
		"https://e.com/a?archive=rar":                     "archive \"rar\" is unknown",
		"https://e.com/a?filename=../x":                   "no plain file name",
		"gcs::https://www.googleapis.com/b/k":             "not in this build",
		"hg::http://e.com/r":                              "not in this build",
		"e.com/file":                                      "no scheme",
		"./file":                                          "no scheme",
		"git://e.com/r":                                   "does not take",
		"s3::https://e.com/b/k?aws_access_key_id=I":       "go together",
		"http://user:secret@[::1/x":                       "no address",
	} {
		_, err := ParseSource(source, nil)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret@") {
			t.Errorf("%s: %v, want %q", source, err, want)
		}
	}
}

const hex32 = "0123456789abcdef0123456789abcdef"

func TestSourceShowsNoSecrets(t *testing.T) {
	s, err := ParseSource("https://user:secret1@e.com/a?token=secret2", nil)
	if err != nil || s.String() != "https://e.com/a" {
		t.Errorf("%s (%v)", s, err)
	}
}

// TestSign holds the examples of AWS's own documentation.
func TestSign(t *testing.T) {
	keys := Keys{ID: "AKIAIOSFODNN7EXAMPLE", Secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}
	at := time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct{ address, header, want string }{
		{"https://examplebucket.s3.amazonaws.com/test.txt", "bytes=0-9", "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
		{"https://examplebucket.s3.amazonaws.com/?lifecycle", "", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
		{"https://examplebucket.s3.amazonaws.com/?max-keys=2&prefix=J", "", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
	} {
		req, err := http.NewRequest(http.MethodGet, c.address, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.header != "" {
			req.Header.Set("Range", c.header)
		}
		sign(req, keys, "us-east-1", at)
		if got := req.Header.Get("Authorization"); !strings.HasSuffix(got, "Signature="+c.want) {
			t.Errorf("%s: %s, want %s", c.address, got, c.want)
		}
	}
}

func TestBucketOf(t *testing.T) {
	for address, want := range map[string][3]string{
		"https://s3.amazonaws.com/b/k/x":            {"https://s3.amazonaws.com/b", "k/x", "us-east-1"},
		"https://s3-eu-west-1.amazonaws.com/b/k":    {"https://s3-eu-west-1.amazonaws.com/b", "k", "eu-west-1"},
		"https://s3.eu-north-1.amazonaws.com/b/k":   {"https://s3.eu-north-1.amazonaws.com/b", "k", "eu-north-1"},
		"https://my.b.s3.eu-west-2.amazonaws.com/k": {"https://my.b.s3.eu-west-2.amazonaws.com", "k", "eu-west-2"},
		"https://b.s3.amazonaws.com/k":              {"https://b.s3.amazonaws.com", "k", "us-east-1"},
		"http://minio.local:9000/b/a b/k":           {"http://minio.local:9000/b", "a b/k", "us-east-1"},
		"s3://b/k":                                  {"https://s3.amazonaws.com/b", "k", "us-east-1"},
	} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		b, key, err := bucketOf(&Source{URL: u.String()})
		if err != nil || [3]string{b.base.String(), key, b.region} != want {
			t.Errorf("%s: %v %q (%v), want %v", address, b, key, err, want)
		}
	}
}
