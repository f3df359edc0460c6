package structs

import (
	"strings"
	"testing"
)

// TestArtifactSources_N23: what cannot be read as an address is refused when
// the job is registered; what clients fetch is not.
func TestArtifactSources_N23(t *testing.T) {
	refused := map[string]string{
		"":                         "source must be specified",
		"htt\x7fp://x":             "control character",
		"::::":                     "not usable",
		"%zz":                      "not usable",
		"http://x/%zz":             "not usable",
		"git::":                    "nothing follows",
		"http://[::1":              "not usable",
		"http://x/\x00":            "control character",
		"http://x/\n":              "control character",
		strings.Repeat("x", 1<<20): "at most 8192",
	}
	for source, want := range refused {
		err := sourceError(source)
		if err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 1000 {
			t.Errorf("%.50q: %v, want %q", source, err, want)
		}
	}
	for _, source := range []string{"https://example.com/a.tar.gz?checksum=md5:x", "github.com/org/repo", "git::https://example.com/r.git", "git@github.com:org/repo",
		"git::git@github.com:org/repo.git//sub?ref=main", "s3::https://s3.amazonaws.com/b/k", "gcs::https://www.googleapis.com/storage/v1/b/k", "./relative/file", "/abs",
		"hg::http://x", "https://${meta.host}/%zz", "http://x/a b"} {
		if err := sourceError(source); err != nil {
			t.Errorf("%q: %v", source, err)
		}
	}
}

func sourceError(source string) error {
	j := minimalJob(JobTypeBatch)
	j.TaskGroups[0].Tasks[0].Artifacts = []*TaskArtifact{{GetterSource: source}}
	j.Canonicalize()
	_, err := j.Validate(Checks{})
	return err
}
