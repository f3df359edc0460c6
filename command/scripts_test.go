package command

import (
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// calls are the command lines of the scripts that run verbs as people do, from
// the word after the program's name on.
func calls(t *testing.T) []string {
	t.Helper()
	program := regexp.MustCompile(`\bnomadlite ([a-z][^\n]*)`)
	var out []string
	err := filepath.WalkDir("../e2e/scripts/testdata", func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".txtar" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		script, _, _ := strings.Cut(string(text), "\n-- ")
		for line := range strings.Lines(script) {
			if strings.HasPrefix(line, "#") {
				continue
			}
			for _, found := range program.FindAllStringSubmatch(line, -1) {
				out = append(out, found[1])
			}
		}
		return nil
	})
	if err != nil || len(out) == 0 {
		t.Fatalf("%d calls in scripts: %v", len(out), err)
	}
	return out
}

// whole are the first words of the verbs of which scripts use every flag: those
// that lead jobs through their lives.
var whole = []string{"deployment", "eval", "events", "job", "namespace", "node", "scaling", "system"}

// TestEveryVerbHasAScript: no verb goes without a script of e2e/scripts, and no
// flag of those about jobs and what is around them.
func TestEveryVerbHasAScript(t *testing.T) {
	all := calls(t)
	for _, v := range verbs() {
		var mine []string
		for _, call := range all {
			rest, is := strings.CutPrefix(call, v.path)
			if is && (rest == "" || strings.ContainsAny(rest[:1], " '`;|)")) {
				mine = append(mine, rest)
			}
		}
		if len(mine) == 0 {
			t.Errorf("no script runs %q", v.path)
			continue
		}
		word, _, _ := strings.Cut(v.path, " ")
		if v.flags == nil || !slices.Contains(whole, word) {
			continue
		}
		set := flag.NewFlagSet(v.path, flag.ContinueOnError)
		v.flags(set)
		set.VisitAll(func(f *flag.Flag) {
			used := regexp.MustCompile(` --?` + regexp.QuoteMeta(f.Name) + `(=|\s|'|$)`)
			if !slices.ContainsFunc(mine, used.MatchString) {
				t.Errorf("no script runs %q with -%s", v.path, f.Name)
			}
		})
	}
}
