// Package java is the java driver: classes and archives on the host's Java
// virtual machine, in a sandbox. Facts: reference driver-plugin.md 10.3.
package java

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nomadlite/nomadlite/drivers/sandbox"
	"github.com/nomadlite/nomadlite/plugins/base"
	"github.com/nomadlite/nomadlite/plugins/driver"
	"github.com/nomadlite/nomadlite/plugins/hclspec"
)

// Name is the driver's, in job files.
const Name = "java"

// command is the virtual machine's launcher.
const command = "java"

// versionTimeout bounds how long the virtual machine may take to tell its
// version: it starts slowly on a busy machine.
const versionTimeout = 20 * time.Second

// Found reports whether this machine has a virtual machine.
func Found() bool {
	_, err := exec.LookPath(command)
	return err == nil
}

// taskConfig is the config block of a task, beside its isolation.
type taskConfig struct {
	Class      string   `codec:"class"`
	ClassPath  string   `codec:"class_path"`
	JarPath    string   `codec:"jar_path"`
	JVMOptions []string `codec:"jvm_options"`
	Args       []string `codec:"args"`
}

// Serve serves the driver as a plugin process until the host ends it.
func Serve() {
	vm := &machine{path: command}
	sandbox.Serve(sandbox.Kind{
		Name: Name,
		Schema: map[string]*hclspec.Spec{
			"class":       hclspec.NewAttr("class", "string", false),
			"class_path":  hclspec.NewAttr("class_path", "string", false),
			"jar_path":    hclspec.NewAttr("jar_path", "string", false),
			"jvm_options": hclspec.NewAttr("jvm_options", "list(string)", false),
			"args":        hclspec.NewAttr("args", "list(string)", false),
		},
		Program: program, Look: vm.look,
	})
}

func program(cfg *driver.TaskConfig) (string, []string, error) {
	var c taskConfig
	if err := cfg.DecodeDriverConfig(&c); err != nil {
		return "", nil, fmt.Errorf("failed to decode driver config: %w", err)
	}
	if c.Class == "" && c.JarPath == "" {
		return "", nil, errors.New("jar_path or class must be specified")
	}
	return command, c.arguments(), nil
}

// arguments are those of the virtual machine.
func (c *taskConfig) arguments() []string {
	out := append([]string(nil), c.JVMOptions...)
	if c.ClassPath != "" {
		out = append(out, "-cp", c.ClassPath)
	}
	if c.JarPath != "" {
		out = append(out, "-jar", c.JarPath)
	}
	if c.Class != "" {
		out = append(out, c.Class)
	}
	return append(out, c.Args...)
}

// machine tells what virtual machine the host has. It is started for that only
// when its file has changed.
type machine struct {
	path string // as exec.LookPath takes it

	mu   sync.Mutex // guards what follows
	file string     // the launcher when it was asked, and its time
	said *driver.Fingerprint
}

func (m *machine) look(ctx context.Context) *driver.Fingerprint {
	m.mu.Lock()
	defer m.mu.Unlock()
	file, err := launcher(m.path)
	if err != nil {
		m.said = nil
		return &driver.Fingerprint{Health: driver.HealthUndetected, HealthDescription: "there is no java in PATH: install a Java runtime"}
	}
	if m.said != nil && m.file == file {
		return m.said
	}
	fp := ask(ctx, m.path)
	if fp.Health == driver.HealthHealthy {
		m.file, m.said = file, fp
	}
	return fp
}

// launcher names the file behind the command and its time.
func launcher(command string) (string, error) {
	path, err := exec.LookPath(command)
	if err != nil {
		return "", err
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return "", err
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	return path + " " + info.ModTime().String(), nil
}

func ask(ctx context.Context, path string) *driver.Fingerprint {
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	text, err := exec.CommandContext(ctx, path, "-version").CombinedOutput()
	version, runtime, vm := parseVersion(string(text))
	if err != nil || version == "" {
		return &driver.Fingerprint{Health: driver.HealthUnhealthy, HealthDescription: fmt.Sprintf("java -version does not tell its version: %v", err)}
	}
	return &driver.Fingerprint{
		Health: driver.HealthHealthy, HealthDescription: driver.HealthDescriptionHealthy,
		Attributes: map[string]base.Attribute{
			"driver." + Name:              base.BoolAttribute(true),
			"driver." + Name + ".version": base.StringAttribute(version),
			"driver." + Name + ".runtime": base.StringAttribute(runtime),
			"driver." + Name + ".vm":      base.StringAttribute(vm),
		},
	}
}

// parseVersion reads the three lines of java -version: the version, the
// runtime and the virtual machine. Lines that wrappers put before are skipped.
func parseVersion(text string) (version, runtime, vm string) {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i, line := range lines {
		_, rest, found := strings.Cut(line, `version "`)
		version, _, closed := strings.Cut(rest, `"`)
		if !found || !closed {
			continue
		}
		if i+1 < len(lines) {
			runtime = strings.TrimSpace(lines[i+1])
		}
		if i+2 < len(lines) {
			vm = strings.TrimSpace(lines[i+2])
		}
		return version, runtime, vm
	}
	return "", "", ""
}
