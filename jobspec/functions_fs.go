package jobspec

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// maxFile is the largest file that a job file may read.
const maxFile = MaxSourceSize

// maxFileSet bounds how many entries fileset looks at.
const maxFileSet = 100_000

var errFSDisabled = errors.New("filesystem function disabled")

// fileSystem is what the file functions see: paths start at base.
type fileSystem struct{ base string }

func (fsys fileSystem) resolve(name string) (string, error) {
	name, err := expandHome(name)
	if err == nil && !filepath.IsAbs(name) {
		name = filepath.Join(fsys.base, name)
	}
	return name, err
}

func (fsys fileSystem) read(name string) ([]byte, error) {
	full, err := fsys.resolve(name)
	if err != nil {
		return nil, err
	}
	return readFile(full)
}

// text is the file function.
func (fsys fileSystem) text(name string) (string, error) {
	content, err := fsys.read(name)
	if err == nil && !utf8.Valid(content) {
		err = fmt.Errorf("contents of %s are not valid UTF-8; use filebase64 for binary files", name)
	}
	return string(content), err
}

func (fsys fileSystem) base64(name string) (string, error) {
	content, err := fsys.read(name)
	return base64.StdEncoding.EncodeToString(content), err
}

func (fsys fileSystem) exists(args []cty.Value, _ cty.Type) (cty.Value, error) {
	full, err := fsys.resolve(args[0].AsString())
	if err != nil {
		return cty.NilVal, err
	}
	info, err := os.Stat(full)
	return cty.BoolVal(err == nil && info.Mode().IsRegular()), nil
}

func (fsys fileSystem) set(args []cty.Value, _ cty.Type) (cty.Value, error) {
	full, err := fsys.resolve(args[0].AsString())
	if err != nil {
		return cty.NilVal, err
	}
	return fileSet(full, args[1].AsString(), maxFileSet)
}

func absolute(name string) (string, error) {
	full, err := filepath.Abs(name)
	return filepath.ToSlash(full), err
}

// fileFunctions are the functions that look at the file system. Where it is not
// allowed they exist, and fail.
func fileFunctions(cfg ParseConfig) map[string]function.Function {
	fsys := fileSystem{cfg.BaseDir}
	path := function.Parameter{Name: "path", Type: cty.String}
	table := map[string]function.Function{
		"abspath":    textFunc(absolute),
		"basename":   textFunc(func(s string) (string, error) { return filepath.Base(s), nil }),
		"dirname":    textFunc(func(s string) (string, error) { return filepath.Dir(s), nil }),
		"pathexpand": textFunc(expandHome),
		"file":       textFunc(fsys.text),
		"filebase64": textFunc(fsys.base64),
		"fileexists": function.New(&function.Spec{
			Params: []function.Parameter{path}, Type: function.StaticReturnType(cty.Bool), Impl: fsys.exists,
		}),
		"fileset": function.New(&function.Spec{
			Params: []function.Parameter{path, {Name: "pattern", Type: cty.String}},
			Type:   function.StaticReturnType(cty.Set(cty.String)), Impl: fsys.set,
		}),
	}
	if cfg.AllowFS {
		return table
	}
	for name, f := range table {
		table[name] = disabled(f)
	}
	return table
}

// disabled keeps a function's form and lets every call fail.
func disabled(f function.Function) function.Function {
	return function.New(&function.Spec{
		Params: f.Params(),
		Type:   func([]cty.Value) (cty.Type, error) { return cty.DynamicPseudoType, errFSDisabled },
		Impl:   func([]cty.Value, cty.Type) (cty.Value, error) { return cty.NilVal, errFSDisabled },
	})
}

func expandHome(name string) (string, error) {
	if name != "~" && !strings.HasPrefix(name, "~/") {
		return name, nil
	}
	home, err := os.UserHomeDir()
	return filepath.Join(home, strings.TrimPrefix(name, "~")), err
}

func readFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("no file exists at %s", name)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(content) > maxFile {
		err = fmt.Errorf("%s is larger than %d bytes", name, maxFile)
	}
	return content, err
}

// fileSet lists the regular files under dir whose relative path matches. It
// looks at up to limit entries.
func fileSet(dir, pattern string, limit int) (cty.Value, error) {
	if _, err := path.Match(pattern, ""); err != nil {
		return cty.NilVal, fmt.Errorf("failed to glob pattern (%s): %w", pattern, err)
	}
	var found []cty.Value
	looked := 0
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, entry fs.DirEntry, err error) error {
		if looked++; looked > limit {
			return fmt.Errorf("%s holds more than %d files", dir, limit)
		}
		if err != nil || entry.IsDir() {
			return nil // unreadable folders match nothing
		}
		if matchPath(strings.Split(pattern, "/"), strings.Split(name, "/")) {
			found = append(found, cty.StringVal(name))
		}
		return nil
	})
	if err != nil {
		return cty.NilVal, err
	}
	if len(found) == 0 {
		return cty.SetValEmpty(cty.String), nil
	}
	return cty.SetVal(found), nil
}

// matchPath matches segment by segment; "**" stands for any number of them.
func matchPath(pattern, name []string) bool {
	if len(pattern) == 0 {
		return len(name) == 0
	}
	if pattern[0] == "**" {
		for i := range len(name) + 1 {
			if matchPath(pattern[1:], name[i:]) {
				return true
			}
		}
		return false
	}
	if len(name) == 0 {
		return false
	}
	ok, _ := path.Match(pattern[0], name[0])
	return ok && matchPath(pattern[1:], name[1:])
}
