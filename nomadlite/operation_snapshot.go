package nomadlite

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"os"
	"time"

	"github.com/hashicorp/raft"

	"github.com/nomadlite/nomadlite/nomadlite/archive"
	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// savedState is an archive that waits to be sent.
type savedState struct {
	file   *os.File
	digest string // "sha-256=<base64>"
}

// Close removes the archive.
func (s *savedState) Close() error { return errors.Join(s.file.Close(), os.Remove(s.file.Name())) }

// scratch makes a temporary file beside the server's data.
func (s *Server) scratch() (*os.File, error) {
	dir := s.cfg.DataDir
	if s.cfg.Dev {
		dir = ""
	}
	return os.CreateTemp(dir, "snapshot-*.tmp")
}

// SaveState writes the state of now to a temporary archive, which the caller
// closes. Nothing is held up by it.
func (s *Server) SaveState() (*savedState, error) {
	snap := s.store.Snapshot()
	raw, err := s.scratch()
	if err != nil {
		return nil, structs.Errorf(structs.Internal, "cannot save the state: %w", err)
	}
	defer func() { _ = errors.Join(raw.Close(), os.Remove(raw.Name())) }()
	if err := snap.Save(raw); err != nil {
		return nil, structs.Errorf(structs.Internal, "cannot save the state: %w", err)
	}
	size, err := raw.Seek(0, io.SeekCurrent)
	if err == nil {
		_, err = raw.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, structs.Errorf(structs.Internal, "cannot save the state: %w", err)
	}
	file, err := s.scratch()
	if err != nil {
		return nil, structs.Errorf(structs.Internal, "cannot save the state: %w", err)
	}
	out := &savedState{file: file}
	sum := sha256.New()
	meta := archive.Meta{ID: newID(), Index: snap.Index(), Term: s.raft.CurrentTerm(), Cluster: snap.ClusterID(), Version: s.cfg.Version, Created: time.Now().UTC(), Size: size}
	err = archive.Write(io.MultiWriter(file, sum), meta, raw)
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		_ = out.Close()
		return nil, structs.Errorf(structs.Internal, "cannot save the state: %w", err)
	}
	out.digest = "sha-256=" + base64.StdEncoding.EncodeToString(sum.Sum(nil))
	return out, nil
}

// RestoreState replaces the state of the cluster by that of an archive. The
// archive is read whole into a state that is thrown away before anything
// changes (D-06).
func (s *Server) RestoreState(ctx context.Context, r io.Reader) error {
	if err := s.awaitLeader(ctx); err != nil {
		return err
	}
	raw, err := s.scratch()
	if err != nil {
		return structs.Errorf(structs.Internal, "cannot restore the state: %w", err)
	}
	defer func() { _ = errors.Join(raw.Close(), os.Remove(raw.Name())) }()
	meta, err := archive.Read(r, raw)
	if err != nil {
		return structs.Errorf(structs.Invalid, "cannot restore the state: %w", err)
	}
	if _, err := raw.Seek(0, io.SeekStart); err != nil {
		return structs.Errorf(structs.Internal, "cannot restore the state: %w", err)
	}
	if err := state.New(state.Options{}).Restore(raw); err != nil {
		return structs.Errorf(structs.Invalid, "cannot restore the state: %w; nothing was changed", err)
	}
	if _, err := raw.Seek(0, io.SeekStart); err != nil {
		return structs.Errorf(structs.Internal, "cannot restore the state: %w", err)
	}
	s.log.Warn("restoring the state from an archive", "id", meta.ID, "index", meta.Index, "created", meta.Created)
	err = s.raft.Restore(&raft.SnapshotMeta{Version: raft.SnapshotVersionMax, ID: meta.ID, Index: meta.Index, Term: meta.Term, Size: meta.Size}, raw, restoreTimeout)
	if err != nil {
		return raftError(err)
	}
	// What was derived from the old state goes: the term begins again.
	s.again.fire()
	return nil
}

// restoreTimeout bounds the time until Raft takes up a restore.
const restoreTimeout = time.Minute
