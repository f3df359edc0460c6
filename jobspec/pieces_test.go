package jobspec

import (
	"bytes"
	"strings"
	"testing"
)

// TestPiecesReadTheSame parses every golden at once and in the smallest pieces:
// the job, or every word of the messages, is the same.
func TestPiecesReadTheSame(t *testing.T) {
	eachGolden(t, func(name string, cfg ParseConfig) {
		if IsJSON(cfg.Source) || random(cfg.Source) {
			return
		}
		once, pieces := readAs(cfg, 1<<30), readAs(cfg, 1)
		if strings.Contains(name, "/broken") || strings.Contains(name, "/unterminated") { // the parser recovers at the end of a piece
			once, _, _ = strings.Cut(once, "\n")
			pieces, _, _ = strings.Cut(pieces, "\n")
		}
		if once != pieces {
			t.Errorf("%s:\n--- at once\n%s\n--- in pieces\n%s", name, once, pieces)
		}
	})
}

func readAs(cfg ParseConfig, whole int) string {
	cfg.whole = whole
	job, err := Parse(cfg)
	if err != nil {
		return err.Error()
	}
	return render(job)
}

// FuzzPieces looks for files that are read in another way in pieces than at
// once. Messages about syntax may differ, because the parser recovers at the
// end of a piece.
func FuzzPieces(f *testing.F) {
	eachGolden(f, func(_ string, cfg ParseConfig) {
		if !random(cfg.Source) {
			f.Add(cfg.Source)
		}
	})
	f.Fuzz(func(t *testing.T, source []byte) {
		if random(source) || bytes.Contains(source, []byte("file")) {
			return
		}
		cfg := ParseConfig{Path: "x.hcl", Source: source}
		once, pieces := readAs(cfg, 1<<30), readAs(cfg, 1)
		if once != pieces && (strings.HasPrefix(once, "{") || strings.HasPrefix(pieces, "{")) {
			t.Errorf("at once\n%s\nin pieces\n%s", once, pieces)
		}
	})
}
