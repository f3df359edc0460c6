package nomadlite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/nomadlite/nomadlite/nomadlite/fsm"
)

// restoreNewest restores the newest of the snapshots that Raft keeps in a
// directory. One that is damaged is refused by file and offset: an older one
// is used only when an operator takes the newer one away.
func restoreNewest(dir string, machine *fsm.FSM) error {
	newest, err := newestSnapshot(dir)
	if err != nil || newest == "" {
		return err
	}
	path := filepath.Join(dir, newest, "state.bin")
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("cannot restore the newest snapshot: %w", err)
	}
	if err := machine.Restore(file); err != nil {
		return fmt.Errorf("cannot restore the snapshot %q: %w; restore the data directory from a copy, or move %q away to go on from the one before",
			path, err, filepath.Join(dir, newest))
	}
	return nil
}

// newestSnapshot names the directory of the newest snapshot, "" for none.
func newestSnapshot(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("cannot list the snapshots: %w", err)
	}
	var newest raft.SnapshotMeta
	for _, e := range entries {
		if !e.IsDir() || strings.HasSuffix(e.Name(), ".tmp") {
			continue // a snapshot that was never finished
		}
		meta, err := snapshotMeta(filepath.Join(dir, e.Name(), "meta.json"), e.Name())
		if err != nil {
			return "", err
		}
		if meta.Term > newest.Term || meta.Term == newest.Term && meta.Index >= newest.Index {
			newest = meta
		}
	}
	return newest.ID, nil
}

// snapshotMeta reads what Raft wrote beside a snapshot and compares it with
// the name of its directory, which says term, index and time.
func snapshotMeta(path, name string) (raft.SnapshotMeta, error) {
	var meta raft.SnapshotMeta
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &meta)
	}
	if err == nil && (meta.ID != name || !strings.HasPrefix(name, fmt.Sprintf("%d-%d-", meta.Term, meta.Index))) {
		err = fmt.Errorf("it describes snapshot %q with term %d and index %d", meta.ID, meta.Term, meta.Index)
	}
	if err != nil {
		return meta, fmt.Errorf("cannot use the snapshot of %q: it is damaged: %w", path, err)
	}
	return meta, nil
}

// snapshotCheck is how often the length of the log is looked at.
const snapshotCheck = 5 * time.Second

// trailingBytes of entries stay behind a snapshot at most, for followers that
// lag: more than that is sent as a snapshot with less.
const trailingBytes = 64 << 20

// limitTrailing lets Raft keep as many entries behind its next snapshot as
// Config.RaftTrailingLogs and trailingBytes allow. (Raft itself counts entries.)
func (s *Server) limitTrailing() {
	conf := s.raft.ReloadableConfig()
	keep := min(s.cfg.RaftTrailingLogs, max(s.raft.logs.Newest(trailingBytes), 1))
	if conf.TrailingLogs == keep {
		return
	}
	conf.TrailingLogs = keep
	if err := s.raft.ReloadConfig(conf); err != nil {
		s.log.Error("cannot limit the log behind snapshots", "entries", keep, "error", err)
	}
}

// limitLog takes a snapshot whenever as many bytes of entries were written since
// the last one as it has, and at least snapshotBytes, until ctx ends: saving
// costs no more than writing did, however large the state, and what a restart
// replays stays in proportion to what it restores. (Raft itself counts entries.)
func (s *Server) limitLog(ctx context.Context) error {
	if s.raft.logs == nil {
		return nil
	}
	ticker := time.NewTicker(snapshotCheck)
	defer ticker.Stop()
	since, size := uint64(0), int64(0)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		s.limitTrailing()
		written := s.raft.logs.Written()
		if !snapshotDue(written-since, size) {
			continue
		}
		since = written
		saved := s.raft.Snapshot()
		switch err := saved.Error(); {
		case err == nil:
			size = savedSize(saved)
		case !errors.Is(err, raft.ErrNothingNewToSnapshot) && ctx.Err() == nil:
			s.log.Error("cannot take a snapshot; the log goes on", "error", err)
		}
	}
}

// snapshotDue reports whether the bytes of entries that were written since a
// snapshot of a size ask for another.
func snapshotDue(written uint64, size int64) bool {
	return written >= max(snapshotBytes, uint64(max(size, 0)))
}

// savedSize is the size of a snapshot that was just taken, 0 if it cannot be told.
func savedSize(saved raft.SnapshotFuture) int64 {
	meta, file, err := saved.Open()
	if err != nil {
		return 0
	}
	_ = file.Close() // it was only read
	return meta.Size
}
