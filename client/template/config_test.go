package template

import (
	"strings"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/structs"
)

// TestWaits: a template's own wait, or the node's, within the node's bounds.
func TestWaits(t *testing.T) {
	s := time.Second
	own := func(min, max time.Duration) *structs.WaitConfig {
		w := &structs.WaitConfig{}
		if min > 0 {
			w.Min = &min
		}
		if max > 0 {
			w.Max = &max
		}
		return w
	}
	for name, c := range map[string]struct {
		cfg             Config
		waits           []*structs.WaitConfig
		quiet, patience time.Duration
	}{
		"the contract's":           {Config{}, []*structs.WaitConfig{nil}, 5 * s, 240 * s},
		"the node's":               {Config{Quiet: s, Patience: 3 * s}, []*structs.WaitConfig{nil}, s, 3 * s},
		"the template's":           {Config{Quiet: s, Patience: 3 * s}, []*structs.WaitConfig{own(2*s, 9*s)}, 2 * s, 9 * s},
		"without a maximum":        {Config{}, []*structs.WaitConfig{own(2*s, 0)}, 2 * s, 8 * s},
		"the longest of several":   {Config{}, []*structs.WaitConfig{own(1*s, 20*s), own(2*s, 3*s)}, 2 * s, 20 * s},
		"bounds raise the least":   {Config{Bounds: Bounds{Min: 4 * s}}, []*structs.WaitConfig{own(s, 2*s)}, 4 * s, 4 * s},
		"bounds lower the longest": {Config{Bounds: Bounds{Max: 10 * s}}, []*structs.WaitConfig{nil}, 5 * s, 10 * s},
		"bounds lower both":        {Config{Bounds: Bounds{Max: 3 * s}}, []*structs.WaitConfig{own(20*s, 30*s)}, 3 * s, 3 * s},
		"patience below quiet":     {Config{Quiet: 9 * s, Patience: s}, []*structs.WaitConfig{nil}, 9 * s, 9 * s},
	} {
		var specs []*structs.Template
		for _, w := range c.waits {
			specs = append(specs, &structs.Template{Wait: w})
		}
		if q, p := newManager(specs, nil, c.cfg.orDefault()).waitOf(); q != c.quiet || p != c.patience {
			t.Errorf("%s: %v and %v, want %v and %v", name, q, p, c.quiet, c.patience)
		}
	}
}

// TestDeniedFunctions: what the node's configuration denies fails by name; the
// rest goes on.
func TestDeniedFunctions(t *testing.T) {
	p := testPass()
	p.denies = Config{Denied: []string{"env", "base64*"}}.denies
	for _, text := range []string{`{{ env "NOMAD_TASK_NAME" }}`, `{{ base64Decode "aGk=" }}`, `{{ plugin "x" }}`} {
		if _, err := p.render(source{text: text}); err == nil || !strings.Contains(err.Error(), "it is denied on this node") {
			t.Errorf("%s: %v", text, err)
		}
	}
	if out, err := p.render(source{text: `{{ envOrDefault "NOMAD_TASK_NAME" "" }}`}); err != nil || string(out) != "web" {
		t.Errorf("%q, %v", out, err)
	}
}
