package logs

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"time"
)

// Limits of a followed stream.
const (
	// ChunkSize is the largest piece that a stream emits.
	ChunkSize = 64 << 10
	// pollInterval is how often a followed file is looked at when nothing
	// comes. Only open streams cost anything.
	pollInterval = 100 * time.Millisecond
)

// Events of a stream.
const (
	EventDeleted   = "file deleted"
	EventTruncated = "file truncated"
)

// Chunk is a piece of a stream.
type Chunk struct {
	File   string // as Source names it
	Offset int64  // in File, after Data
	Data   []byte // valid until the next chunk
	Event  string
}

// Source opens the files that a stream reads.
type Source interface {
	// Open opens a file for reading.
	Open(name string) (*os.File, error)
	// ReadDir lists a directory.
	ReadDir(name string) ([]fs.DirEntry, error)
}

// Request says what of a log to read.
type Request struct {
	Dir     string // of the log files, as Source names it
	Base    string // "<task>.<type>"
	FromEnd bool   // Offset counts back from the end
	Offset  int64
	Follow  bool
	// Done ends a followed stream once it has caught up: the task is over. Nil
	// follows until the context ends.
	Done <-chan struct{}
}

// Files lists the files of a log, oldest first.
func Files(src Source, dir, base string) ([]File, error) {
	entries, err := src.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	return list(dirFS(entries), base)
}

// dirFS lets a listing that was read already be used as a file system.
type dirFS []fs.DirEntry

func (d dirFS) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

func (d dirFS) ReadDir(string) ([]fs.DirEntry, error) { return d, nil }

// place finds where in which file a stream begins. Offsets beyond the ends are
// the ends.
func place(files []File, fromEnd bool, offset int64) (file int, at int64) {
	if fromEnd {
		for i := len(files) - 1; i >= 0; i-- {
			if offset <= files[i].Size {
				return i, files[i].Size - offset
			}
			offset -= files[i].Size
		}
		return 0, 0
	}
	for i, f := range files {
		if offset < f.Size || i == len(files)-1 {
			return i, min(offset, f.Size)
		}
		offset -= f.Size
	}
	return 0, 0
}

// Stream emits a log from the requested place on. Without Follow it ends at
// the end of the newest file, with it when the context does.
func Stream(ctx context.Context, src Source, req Request, emit func(Chunk) error) error {
	files, err := Files(src, req.Dir, req.Base)
	if err != nil {
		return err
	}
	if len(files) == 0 && !req.Follow {
		return nil
	}
	s := &stream{src: src, req: req, emit: emit}
	if len(files) > 0 {
		i, at := place(files, req.FromEnd, req.Offset)
		s.index, s.at = files[i].Index, at
	}
	return s.run(ctx)
}

type stream struct {
	src   Source
	req   Request
	emit  func(Chunk) error
	index int
	at    int64
	buf   []byte
}

func (s *stream) run(ctx context.Context) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	over := false
	for {
		more, err := s.advance(ctx)
		if err != nil || ctx.Err() != nil {
			return err
		}
		if more {
			continue
		}
		if !s.req.Follow || over {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.req.Done:
			over = true // once more: what came before the end
		case <-tick.C:
		}
	}
}

// advance reads what the current file has and moves to the next one when there
// is one. It reports whether it moved.
func (s *stream) advance(ctx context.Context) (bool, error) {
	// Listed before the read: what is in a newer file came after the last
	// byte of this one.
	files, err := Files(s.src, s.req.Dir, s.req.Base)
	if err != nil {
		return false, err
	}
	if err := s.drain(ctx); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	for _, f := range files {
		if f.Index > s.index {
			s.index, s.at = f.Index, 0
			return true, nil
		}
	}
	return false, nil
}

// drain emits the rest of the current file.
func (s *stream) drain(ctx context.Context) error {
	name := s.req.Dir + "/" + fileName(s.req.Base, s.index)
	f, err := s.src.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	s.at, err = copyFrom(ctx, f, name, s.at, &s.buf, s.emit)
	return err
}

// copyFrom emits a file from an offset to its end and returns the new offset.
func copyFrom(ctx context.Context, f *os.File, name string, at int64, buf *[]byte, emit func(Chunk) error) (int64, error) {
	if *buf == nil {
		*buf = make([]byte, ChunkSize)
	}
	for ctx.Err() == nil {
		n, err := f.ReadAt(*buf, at)
		if n > 0 {
			at += int64(n)
			if err := emit(Chunk{File: name, Offset: at, Data: (*buf)[:n]}); err != nil {
				return at, err
			}
		}
		if errors.Is(err, io.EOF) {
			return at, nil
		}
		if err != nil {
			return at, err
		}
	}
	return at, nil
}

// FollowFile emits one file from an offset on. With follow it goes on until
// the context ends or the file is deleted; a truncated file begins again.
func FollowFile(ctx context.Context, src Source, name string, fromEnd bool, offset int64, follow bool, emit func(Chunk) error) error {
	f, err := src.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	at := min(max(offset, 0), info.Size())
	if fromEnd {
		at = max(0, info.Size()-offset)
	}
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	var buf []byte
	for {
		if at, err = copyFrom(ctx, f, name, at, &buf, emit); err != nil || !follow {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		event, err := fileEvent(f, at)
		if err != nil {
			return err
		}
		if event == "" {
			continue
		}
		if err := emit(Chunk{File: name, Offset: at, Event: event}); err != nil || event == EventDeleted {
			return err
		}
		at = 0
	}
}

// fileEvent says whether an open file was deleted or cut below the offset.
func fileEvent(f *os.File, at int64) (string, error) {
	info, err := f.Stat()
	switch {
	case err != nil:
		return "", err
	case links(info) == 0:
		return EventDeleted, nil
	case info.Size() < at:
		return EventTruncated, nil
	}
	return "", nil
}
