package nomadlite

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// TestHalfWrittenLog cuts the last entry of the log as a crash in the middle
// of a write would: the server starts, with everything before it.
func TestHalfWrittenLog(t *testing.T) {
	dir := t.TempDir()
	s, stop := startServer(t, dir)
	for _, id := range []string{"first", "second"} {
		if _, _, err := s.client.Jobs().Register(s.context(), &api.JobRegisterRequest{Job: testJob(id, structs.JobTypeService)}, nil); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	segments, err := filepath.Glob(filepath.Join(dir, "raft", "wal", "*.wal"))
	if err != nil || len(segments) == 0 {
		t.Fatalf("log segments %v, %v", segments, err)
	}
	last := slices.Max(segments)
	raw, err := os.ReadFile(last)
	if err != nil {
		t.Fatal(err)
	}
	end := len(bytes.TrimRight(raw, "\x00"))
	clear(raw[end-24 : end])
	if err := os.WriteFile(last, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	again, _ := startServer(t, dir)
	if err := again.ReadBarrier(again.context()); err != nil {
		t.Fatal(err)
	}
	if again.store.Snapshot().Job("default", "first") == nil {
		t.Error("what stood before the last entry is lost")
	}
	if _, _, err := again.client.Jobs().Register(again.context(), &api.JobRegisterRequest{Job: testJob("third", structs.JobTypeService)}, nil); err != nil {
		t.Errorf("the log does not go on: %v", err)
	}
}
