package jobspec

import (
	"go/ast"
	goparser "go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// toldElsewhere are sentences that no golden can tell, by the test that does.
var toldElsewhere = map[string]string{
	"and %d more problems: the first %d are shown":                                                                    "TestValidateCountsProblems",
	"cannot take a job with %d groups and tasks: at most %d are allowed; use count for alike groups, or several jobs": "TestHostileBodies_N20",
	"%s holds more than %d files":                                                                                     "TestFilesOfAFolderAreCounted",
	"value is not known":                                                                                              "none: no expression of a job file yields such a value, and the code behind would panic",
}

// TestEverySentenceHasACase reads the sentences of validation and of the parser
// from the source, and looks for each of them in what the goldens want. A new
// sentence needs a case.
func TestEverySentenceHasACase(t *testing.T) {
	wanted := wantedTexts(t)
	found := 0
	for _, glob := range []string{"../structs/validate*.go", "*.go"} {
		paths, err := filepath.Glob(glob)
		if err != nil || len(paths) == 0 {
			t.Fatal("no source", glob, err)
		}
		for _, path := range paths {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			for _, s := range sentences(t, path) {
				found++
				if slices.Contains(limitSentences, s) || toldElsewhere[s] != "" {
					continue
				}
				pattern := asPattern(s)
				if !pattern.MatchString(wanted) {
					t.Errorf("%s: no golden tells %q", filepath.Base(path), s)
				}
			}
		}
	}
	if found < 300 {
		t.Errorf("only %d sentences were found", found)
	}
}

// sentences are the texts that a file's functions give to those who add
// problems: all of their literal arguments that are more than a word.
func sentences(t *testing.T, path string) []string {
	file, err := goparser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		name := ""
		switch f := call.Fun.(type) {
		case *ast.SelectorExpr:
			name = f.Sel.Name
		case *ast.Ident:
			name = f.Name
		}
		texts := map[string]int{"add": 0, "warn": 0, "oneOf": 0, "notNegative": 0, "Errorf": 0, "problem": 2, "tooMuch": 2}
		at, tells := texts[name]
		for i := at; tells && i < len(call.Args); i++ {
			lit, ok := call.Args[i].(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				continue
			}
			text, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(text, " ") && text != "%s %s %.80q failed to compile: %v" {
				out = append(out, text)
			}
			break
		}
		return true
	})
	return out
}

// asPattern matches a format's texts.
func asPattern(format string) *regexp.Regexp {
	verb := regexp.MustCompile(`%[.0-9]*[a-zA-Z]`)
	literal := verb.Split(strings.ReplaceAll(format, "%%", "%"), -1)
	for i := range literal {
		literal[i] = regexp.QuoteMeta(literal[i])
	}
	return regexp.MustCompile(strings.Join(literal, ".*"))
}

func wantedTexts(t *testing.T) string {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`(?ms)^-- \S+\.want --\n(.*?)(?:^-- |\z)`)
	var out strings.Builder
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range want.FindAllSubmatch(content, -1) {
			out.Write(m[1])
		}
	}
	return out.String()
}

// TestFilesOfAFolderAreCounted ends the search of a folder at its limit.
func TestFilesOfAFolderAreCounted(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a", "b", "c"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if v, err := fileSet(dir, "*", 4); err != nil || v.LengthInt() != 3 { // the folder itself counts
		t.Errorf("4 entries: %v, %v", v, err)
	}
	if _, err := fileSet(dir, "*", 3); err == nil || !strings.Contains(err.Error(), "holds more than 3 files") {
		t.Errorf("3 entries: %v", err)
	}
}
