package nomadlite

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/nomadlite/keyring"
	"github.com/nomadlite/nomadlite/structs"
)

func variable(path string, items ...string) *structs.Variable {
	v := &structs.Variable{VariableMetadata: structs.VariableMetadata{Path: path}, Items: map[string]string{}}
	for i := 0; i < len(items); i += 2 {
		v.Items[items[i]] = items[i+1]
	}
	return v
}

func TestVariablesWithCheckAndSet(t *testing.T) {
	s, _ := startServer(t, "")
	ctx, vars := s.context(), s.client.Variables()
	first, _, err := vars.Set(ctx, variable("app/db", "user", "ada", "password", "hunter2"), structs.Ptr(uint64(0)), nil)
	if err != nil || first.Items["password"] != "hunter2" || first.CreateIndex == 0 || first.Namespace != "default" {
		t.Fatalf("%+v, %v", first, err)
	}
	var conflict *api.VariableConflict
	if _, _, err := vars.Set(ctx, variable("app/db", "a", "b"), structs.Ptr(uint64(0)), nil); !errors.As(err, &conflict) || conflict.Current.ModifyIndex != first.ModifyIndex {
		t.Errorf("create again: %v", err)
	}
	if _, _, err := vars.Set(ctx, variable("app/other", "a", "b"), structs.Ptr(uint64(5)), nil); !errors.As(err, &conflict) || conflict.Current.ModifyIndex != 0 {
		t.Errorf("update what is not there: %v", err)
	}
	second, _, err := vars.Set(ctx, variable("app/db", "user", "grace"), &first.ModifyIndex, nil)
	if err != nil || second.CreateIndex != first.CreateIndex || second.ModifyIndex <= first.ModifyIndex || len(second.Items) != 1 {
		t.Errorf("update: %+v, %v", second, err)
	}
	if _, _, err := vars.Set(ctx, variable("zoo", "a", "b"), nil, nil); err != nil {
		t.Fatal(err)
	}
	list, meta, err := vars.List(ctx, &api.QueryOptions{Prefix: "app"})
	if err != nil || len(list) != 1 || list[0].Path != "app/db" || meta.LastIndex < second.ModifyIndex {
		t.Errorf("list: %v, %+v, %v", list, meta, err)
	}
	if _, err := vars.Delete(ctx, "app/db", &first.ModifyIndex, nil); !errors.As(err, &conflict) {
		t.Errorf("delete at an old index: %v", err)
	}
	for range 2 { // also when it is gone
		if _, err := vars.Delete(ctx, "app/db", nil, nil); err != nil {
			t.Error(err)
		}
	}
	_, _, err = vars.Get(ctx, "app/db", nil)
	fails(t, "gone", err, "404 (variable not found)")
	keys := []*structs.RootKeyMeta{}
	if _, err := s.client.Get(ctx, "/v1/operator/keyring/keys", &keys, nil); err != nil || len(keys) != 1 || keys[0].State != "active" {
		t.Errorf("keys %v, %v", keys, err)
	}
}

func TestVariablesRefused(t *testing.T) {
	s, _ := startServer(t, "")
	ctx, vars := s.context(), s.client.Variables()
	for _, tc := range []struct {
		v    *structs.Variable
		want string
	}{
		{variable("app/db"), "400 (variable missing required Items object)"},
		{variable("app/d b", "a", "b"), `400 (invalid path "app/d b")`},
		{variable(strings.Repeat("a", 129), "a", "b"), "400 (invalid path \"" + strings.Repeat("a", 129) + "\")"},
		{variable("app", "a", strings.Repeat("x", structs.MaxVariableSize)), "400 (items of variable \"app\" are 65537 bytes together, the limit is 65536)"},
		{variable("app", "a\nb", "x"), "400 (invalid item key \"a\\nb\": it must be 1 to 255 bytes long, without line breaks)"},
		{variable("nomad/x", "a", "b"), "400 (only paths at \"nomad/jobs\" or below and below \"nomad/job-templates\" are valid paths under the top-level \"nomad\" directory, not \"nomad/x\")"},
	} {
		_, _, err := vars.Set(ctx, tc.v, nil, nil)
		fails(t, tc.v.Path, err, tc.want)
	}
	if _, _, err := vars.Set(ctx, variable("nomad/jobs/web", "a", "b"), nil, nil); err != nil {
		t.Error(err)
	}
	if _, _, err := vars.Set(ctx, variable("x", "a", "b"), nil, &api.WriteOptions{Namespace: "nowhere"}); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("an unknown namespace: %v", err)
	}
	_, err := s.client.Put(ctx, "/v1/var/x?lock-acquire", variable("x", "a", "b"), nil, nil)
	if err == nil || !strings.Contains(err.Error(), "501") {
		t.Errorf("lock: %v", err)
	}
}

// TestVariablesAtRest_B83: items are nowhere on disk in clear, come back after a
// restart, and without the KEK the server runs but says what is missing (rows
// B-83 and D-10).
func TestVariablesAtRest_B83(t *testing.T) {
	dir := t.TempDir()
	s, stop := startServer(t, dir)
	if _, _, err := s.client.Variables().Set(s.context(), variable("app/db", "password", "correct horse battery"), nil, nil); err != nil {
		t.Fatal(err)
	}
	stop()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if bytes.Contains(text, []byte("correct horse")) || bytes.Contains(text, []byte("password")) {
			t.Errorf("%s holds the items in clear", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	s, stop = startServer(t, dir)
	if v, _, err := s.client.Variables().Get(s.context(), "app/db", nil); err != nil || v.Items["password"] != "correct horse battery" {
		t.Errorf("after a restart: %+v, %v", v, err)
	}
	stop()
	if err := os.Remove(filepath.Join(dir, keyring.FileName)); err != nil {
		t.Fatal(err)
	}
	s, _ = startServer(t, dir)
	if _, _, err := s.client.Variables().Get(s.context(), "app/db", nil); err == nil || !strings.Contains(err.Error(), "restore keyring.kek from its backup") {
		t.Errorf("without the KEK: %v", err)
	}
	if list, _, err := s.client.Variables().List(s.context(), nil); err != nil || len(list) != 1 {
		t.Errorf("the list without the KEK: %v, %v", list, err)
	}
	s.register(testJob("a", "service"))
}
