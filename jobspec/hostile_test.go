package jobspec

import (
	"fmt"
	goruntime "runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What a hostile file may cost before it is refused. The time is that of the
// test's own thread, because the machine may be busy; the memory is all that
// was ever allocated, of which the garbage collector takes most back meanwhile.
const (
	hostileTime   = time.Second
	hostileMemory = 64 << 20
)

// cost runs do and says what it took.
func cost(do func()) (cpu time.Duration, allocated uint64) {
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
	var before, after goruntime.MemStats
	goruntime.ReadMemStats(&before)
	start := threadTime()
	do()
	cpu = threadTime() - start
	goruntime.ReadMemStats(&after)
	return cpu, after.TotalAlloc - before.TotalAlloc
}

func threadTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		panic(err)
	}
	return time.Duration(t.Nano())
}

// hostileFiles are files that grow beyond all measure.
func hostileFiles() map[string]string {
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
	return map[string]string{
		"size":              strings.Repeat(" ", MaxSourceSize+1),
		"braces":            strings.Repeat("a {\n", 200_000),
		"brackets":          job(strings.Repeat("[", 500_000)),
		"parentheses":       job(strings.Repeat("(", 500_000)),
		"not":               job(strings.Repeat("!", 500_000) + "true"),
		"minus":             job(strings.Repeat("-", 500_000) + "1"),
		"sum":               job("1" + strings.Repeat("+1", 500_000)),
		"conditional":       job(strings.Repeat("true?1:", 200_000) + "1"),
		"templates":         job(strings.Repeat(`"${`, 100_000)),
		"directives":        job(`"` + strings.Repeat("%{if true}", 100_000) + `"`),
		"index":             job("a" + strings.Repeat("[b]", 200_000)),
		"splat":             job("a" + strings.Repeat("[*]", 200_000)),
		"words":             strings.Repeat("a\n", 2_000_000),
		"json":              strings.Repeat(`{"a":`, 300_000),
		"json list":         `{"job":` + strings.Repeat("[", 300_000),
		"nested for":        job("[for a in range(1000): [for b in range(1000): [for c in range(1000): [for d in range(1000): a]]]]"),
		"hidden for":        job("can([for a in range(1000): [for b in range(1000): [for c in range(1000): c]]])"),
		"laughs":            laughs.String(),
		"lists":             lists.String(),
		"number":            job(`"x${1e1000000000}"`),
		"infinite number":   job(`"x${1e9000000000}"`),
		"huge number":       job(`"x${1e600000000}"`),
		"small number":      job(`"x${1e-600000000}"`),
		"format":            job(`format("%1000000000d", 1)`),
		"join":              job(`join(join("", [for a in range(1000): "0123456789012345678901234567890123456789"]), [for a in range(1000): join("", [for b in range(100): "x"])])`),
		"indent":            job(`indent(1000000000, "a\nb")`),
		"replace":           job(`replace(join("", [for a in range(1000): "0123456789"]), "", join("", [for a in range(1000): "0123456789"]))`),
		"setproduct":        job(`length(setproduct(range(1000), range(1000), range(1000), range(1000)))`),
		"bcrypt":            job(`bcrypt("x", 31)`),
		"bcrypt often":      job(`join("", [for a in range(1000): bcrypt("x")])`),
		"dynamic":           "job \"a\" {\n dynamic \"group\" {\n for_each = range(1000)\n labels = [\"g\"]\n content {\n dynamic \"task\" {\n for_each = range(1000)\n labels = [\"t\"]\n content {\n dynamic \"template\" {\n for_each = range(1000)\n content {}\n}\n}\n}\n}\n}\n}\n",
		"unknown blocks":    "job \"a\" {\n" + strings.Repeat(" b {\n }\n", 60_000) + "}\n",
		"unknown arguments": "job \"a\" {\n" + numbered(" a%d = 1\n", 90_000) + "}\n",
		"many jobs":         strings.Repeat("job \"a\" {\n}\n", 50_000),
		"duplicate blocks":  "job \"a\" {\n" + strings.Repeat(" update {\n }\n", 50_000) + "}\n",
		"bad values":        "job \"a\" {\n group \"g\" {\n" + strings.Repeat("  task \"t\" {\n leader = 1\n }\n", 25_000) + " }\n}\n",
		"bad syntax":        "job \"a\" {\n group \"g\" {\n" + strings.Repeat("  task \"t\" {\n leader = = 1\n }\n", 25_000) + " }\n}\n",
		"long list":         job("[" + strings.Repeat("1,", 150_000) + "]"),
		"long config":       "job \"a\" {\n group \"g\" {\n  task \"t\" {\n config {\n" + strings.Repeat("a {\n}\n", 60_000) + "}\n }\n }\n}\n",
		"long content":      "job \"a\" {\n dynamic \"group\" {\n  for_each = [1]\n  labels = [\"g\"]\n  content {\n" + strings.Repeat("task \"a\" {\n}\n", 60_000) + "}\n }\n}\n",
		"unclosed":          "job \"a\" {\n" + strings.Repeat(" group \"b\" {\n }\n", 30_000),
		"json blocks":       `{"job":{"a":{"group":{` + strings.Repeat(`"g":{},`, 60_000) + `"x":{}}}}}`,
		"local of itself":   "locals {\n a = local.b\n b = local.a\n}\njob \"a\" {}\n",
	}
}

// limitSentences are the refusals that need large files to be told.
var limitSentences = []string{
	"A job may have up to %d blocks.",
	"Source is too large",
	"Nesting is too deep",
	"Source has too many parts",
	"Expression is too long",
	"Unclosed block, bracket or quote",
	"An argument, and a block of free form, may have up to %d words and signs: split it, or generate it with for expressions.",
}

// TestHostileFiles_1d feeds files that grow beyond all measure: each must be
// refused, fast, and every limit is told by one of them.
func TestHostileFiles_1d(t *testing.T) {
	var told []string
	for name, source := range hostileFiles() {
		var err error
		took, allocated := cost(func() {
			_, err = Parse(ParseConfig{Path: "x.hcl", Source: []byte(source), Strict: true})
		})
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		if took > hostileTime && !raceEnabled {
			t.Errorf("%s: took %v", name, took)
		}
		if allocated > hostileMemory && !raceEnabled {
			t.Errorf("%s: allocated %d MiB", name, allocated>>20)
		}
		if len(err.Error()) > 64<<10 {
			t.Errorf("%s: the error has %d bytes", name, len(err.Error()))
		}
		told = append(told, err.Error())
		t.Logf("%-16s %8s %3d MiB %.150s", name, took.Round(time.Millisecond), allocated>>20, strings.ReplaceAll(err.Error(), "\n", " | "))
	}
	for _, s := range limitSentences {
		if !slices.ContainsFunc(told, asPattern(s).MatchString) {
			t.Errorf("no file is refused with %q", s)
		}
	}
}

// numbered repeats a line with its number.
func numbered(format string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}
