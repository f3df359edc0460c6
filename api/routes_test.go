package api

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// TestRoutesDoc is the golden test of the route table: docs/http-routes.md is
// the table's text.
func TestRoutesDoc(t *testing.T) {
	const file = "../docs/http-routes.md"
	got := RoutesDoc()
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is not what the route table prints: run make golden and read the diff", file)
	}
}

func TestRowsAreComplete(t *testing.T) {
	names, verbs := map[string]bool{}, map[string]bool{}
	for _, r := range Routes() {
		if names[r.Name] {
			t.Errorf("two rows are called %s", r.Name)
		}
		names[r.Name] = true
		for _, m := range r.Methods {
			if verbs[m+r.Path] {
				t.Errorf("two rows have %s %s", m, r.Path)
			}
			verbs[m+r.Path] = true
		}
		if r.Auth == "" || r.Namespace == "" || r.Forward == "" || r.Answer == "" || r.Meta == "" || !strings.HasSuffix(r.Doc, ".") {
			t.Errorf("row %s is incomplete: %s", r.Name, r)
		}
		if (r.Auth == AuthToken) != (r.Capability != "") && r.Auth != AuthFiltered {
			t.Errorf("row %s: %s with capability %q", r.Name, r.Auth, r.Capability)
		}
		if (r.Namespace != NamespaceNone) != strings.HasPrefix(string(r.Capability), "ns:") && r.Auth != AuthFiltered {
			t.Errorf("row %s: capability %q with namespace from %q", r.Name, r.Capability, r.Namespace)
		}
		if r.Blocking && r.Meta != MetaRead {
			t.Errorf("row %s blocks without an index", r.Name)
		}
		if r.List != ListNone && !slices.Contains(r.Methods, "GET") {
			t.Errorf("row %s is a list without GET", r.Name)
		}
	}
}
