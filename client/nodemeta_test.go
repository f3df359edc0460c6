package client

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/nomadlite/nomadlite/structs"
)

// TestNodeMeta sets, hides and unsets metadata; what was set outlives the agent
// and damage to its file.
func TestNodeMeta(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meta.json")
	static := map[string]string{"rack": "r1", "zone": "a"}
	m, warning, err := readNodeMeta(path, static)
	if err != nil || warning != "" {
		t.Fatal(warning, err)
	}
	apply := func(change map[string]*string) {
		t.Helper()
		next, err := m.applied(change)
		if err != nil {
			t.Fatal(err)
		}
		m = next
		if err := m.save(); err != nil {
			t.Fatal(err)
		}
	}
	apply(map[string]*string{"rack": nil, "zone": structs.Ptr("b"), "disk": structs.Ptr("ssd"), "gone": nil})
	if got, want := m.merged(), map[string]string{"zone": "b", "disk": "ssd"}; !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if _, kept := m.response().Dynamic["gone"]; kept || m.response().Static["rack"] != "r1" {
		t.Errorf("%+v", m.response())
	}
	m, warning, err = readNodeMeta(path, static)
	if err != nil || warning != "" || !reflect.DeepEqual(m.merged(), map[string]string{"zone": "b", "disk": "ssd"}) {
		t.Errorf("after a restart: %v %q %v", m.merged(), warning, err)
	}
	apply(map[string]*string{"disk": nil, "rack": structs.Ptr("r2")})
	if got, want := m.merged(), map[string]string{"zone": "b", "rack": "r2"}; !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	for key, value := range map[string]string{"": "x", "a b": "x", "a=b": "x", strings.Repeat("k", maxMetaKey+1): "x", "big": strings.Repeat("v", maxMetaBytes)} {
		if _, err := m.applied(map[string]*string{key: &value}); structs.KindOf(err) != structs.Invalid {
			t.Errorf("%.20q: %v", key, err)
		}
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	m, warning, err = readNodeMeta(path, static)
	if err != nil || !strings.Contains(warning, "is damaged") || !reflect.DeepEqual(m.merged(), static) {
		t.Errorf("damaged: %v %q %v", m.merged(), warning, err)
	}
	if _, err := os.Stat(path + ".bad"); err != nil {
		t.Error(err)
	}
}
