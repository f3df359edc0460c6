package jobspec

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// slow is well over what a refusal takes (under 0.6 s on two cores), so that the
// race detector and a busy machine do not fail the test; without the limits
// these files take minutes or all memory.
const slow = 10 * time.Second

// TestHostileFiles feeds files that grow beyond all measure: each must be
// refused, fast.
func TestHostileFiles(t *testing.T) {
	job := func(expr string) string { return "job \"a\" {\n meta = { x = " + expr + " }\n}\n" }
	var laughs strings.Builder
	laughs.WriteString("locals {\n a0 = \"0123456789\"\n")
	for i := range 60 {
		fmt.Fprintf(&laughs, " a%d = \"${local.a%d}${local.a%d}\"\n", i+1, i, i)
	}
	laughs.WriteString("}\njob \"a\" {}\n")
	var lists strings.Builder
	lists.WriteString("locals {\n a0 = [1, 2]\n")
	for i := range 60 {
		fmt.Fprintf(&lists, " a%d = [local.a%d, local.a%d]\n", i+1, i, i)
	}
	lists.WriteString("}\njob \"a\" {}\n")
	for name, source := range map[string]string{
		"size":            strings.Repeat(" ", MaxSourceSize+1),
		"braces":          strings.Repeat("a {\n", 200_000),
		"brackets":        job(strings.Repeat("[", 500_000)),
		"parentheses":     job(strings.Repeat("(", 500_000)),
		"not":             job(strings.Repeat("!", 500_000) + "true"),
		"minus":           job(strings.Repeat("-", 500_000) + "1"),
		"sum":             job("1" + strings.Repeat("+1", 500_000)),
		"conditional":     job(strings.Repeat("true?1:", 200_000) + "1"),
		"templates":       job(strings.Repeat(`"${`, 100_000)),
		"directives":      job(`"` + strings.Repeat("%{if true}", 100_000) + `"`),
		"index":           job("a" + strings.Repeat("[b]", 200_000)),
		"splat":           job("a" + strings.Repeat("[*]", 200_000)),
		"words":           strings.Repeat("a\n", 2_000_000),
		"json":            strings.Repeat(`{"a":`, 300_000),
		"json list":       `{"job":` + strings.Repeat("[", 300_000),
		"nested for":      job("[for a in range(1000): [for b in range(1000): [for c in range(1000): [for d in range(1000): a]]]]"),
		"hidden for":      job("can([for a in range(1000): [for b in range(1000): [for c in range(1000): c]]])"),
		"laughs":          laughs.String(),
		"lists":           lists.String(),
		"number":          job(`"x${1e1000000000}"`),
		"infinite number": job(`"x${1e9000000000}"`),
		"huge number":     job(`"x${1e600000000}"`),
		"small number":    job(`"x${1e-600000000}"`),
		"format":          job(`format("%1000000000d", 1)`),
		"join":            job(`join(join("", [for a in range(1000): "0123456789012345678901234567890123456789"]), [for a in range(1000): join("", [for b in range(100): "x"])])`),
		"indent":          job(`indent(1000000000, "a\nb")`),
		"replace":         job(`replace(join("", [for a in range(1000): "0123456789"]), "", join("", [for a in range(1000): "0123456789"]))`),
		"setproduct":      job(`length(setproduct(range(1000), range(1000), range(1000), range(1000)))`),
		"bcrypt":          job(`bcrypt("x", 31)`),
		"bcrypt often":    job(`join("", [for a in range(1000): bcrypt("x")])`),
		"dynamic":         "job \"a\" {\n dynamic \"group\" {\n for_each = range(1000)\n labels = [\"g\"]\n content {\n dynamic \"task\" {\n for_each = range(1000)\n labels = [\"t\"]\n content {\n dynamic \"template\" {\n for_each = range(1000)\n content {}\n}\n}\n}\n}\n}\n}\n",
		"local of itself": "locals {\n a = local.b\n b = local.a\n}\njob \"a\" {}\n",
	} {
		start := time.Now()
		_, err := Parse(ParseConfig{Path: "x.hcl", Source: []byte(source), Strict: true})
		took := time.Since(start)
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		if took > slow {
			t.Errorf("%s: took %v", name, took)
		}
		if len(err.Error()) > 64<<10 {
			t.Errorf("%s: the error has %d bytes", name, len(err.Error()))
		}
		t.Logf("%-16s %8s %.150s", name, took.Round(time.Millisecond), strings.ReplaceAll(err.Error(), "\n", " | "))
	}
}
