package java

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/plugins/driver"
)

// TestVersion reads what virtual machines say of themselves.
func TestVersion(t *testing.T) {
	for _, tt := range []struct{ name, text, version, runtime, vm string }{
		{"17", "openjdk version \"17.0.15\" 2025-04-15\nOpenJDK Runtime Environment (build 17.0.15+6)\nOpenJDK 64-Bit Server VM (build 17.0.15+6, mixed mode)\n",
			"17.0.15", "OpenJDK Runtime Environment (build 17.0.15+6)", "OpenJDK 64-Bit Server VM (build 17.0.15+6, mixed mode)"},
		{"8", "java version \"1.8.0_361\"\nJava(TM) SE Runtime Environment\nJava HotSpot(TM)", "1.8.0_361", "Java(TM) SE Runtime Environment", "Java HotSpot(TM)"},
		{"options", "Picked up _JAVA_OPTIONS: -Xmx1g\nopenjdk version \"11.0.1\"\nr\nv", "11.0.1", "r", "v"},
		{"short", "openjdk version \"9\"", "9", "", ""},
		{"broken", "openjdk version \"9", "", "", ""},
		{"nothing", "", "", "", ""},
	} {
		if version, runtime, vm := parseVersion(tt.text); version != tt.version || runtime != tt.runtime || vm != tt.vm {
			t.Errorf("%s: %q %q %q", tt.name, version, runtime, vm)
		}
	}
}

// TestArguments are in the order of the contract.
func TestArguments(t *testing.T) {
	c := taskConfig{Class: "Main", ClassPath: "a:b", JarPath: "local/x.jar", JVMOptions: []string{"-Xmx1g"}, Args: []string{"1", "2"}}
	if got := c.arguments(); !slices.Equal(got, []string{"-Xmx1g", "-cp", "a:b", "-jar", "local/x.jar", "Main", "1", "2"}) {
		t.Errorf("%q", got)
	}
}

// t0 is a time that no file of the test has by itself.
var t0 = time.Unix(1_000_000_000, 0)

// TestLook asks a virtual machine again only when its file is another.
func TestLook(t *testing.T) {
	path := filepath.Join(t.TempDir(), "java")
	write := func(version string) {
		t.Helper()
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		text := "#!/bin/sh\necho asked >>" + path + ".log\necho 'openjdk version \"" + version + "\"' >&2\n"
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	m := &machine{path: path}
	if fp := m.look(t.Context()); fp.Health != driver.HealthUndetected {
		t.Errorf("without one: %+v", fp)
	}
	write("17")
	for range 3 {
		if fp := m.look(t.Context()); fp.Health != driver.HealthHealthy || *fp.Attributes["driver.java.version"].String != "17" {
			t.Errorf("%+v", fp)
		}
	}
	log, err := os.ReadFile(path + ".log")
	if err != nil || string(log) != "asked\n" {
		t.Errorf("asked: %q %v", log, err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, t0, t0); err != nil {
		t.Fatal(err)
	}
	if fp := m.look(t.Context()); fp.Health != driver.HealthUnhealthy {
		t.Errorf("broken: %+v", fp)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if fp := m.look(t.Context()); fp.Health != driver.HealthUndetected {
		t.Errorf("removed: %+v", fp)
	}
}
