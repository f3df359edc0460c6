// Package logs writes and reads the log files of tasks:
//
//	alloc/logs/<task>.<stdout|stderr>.<N>, N rising from 0
//
// A Rotator writes them, bounded in size and number; List, Read and Follow
// read them as one stream whose offsets span the files. The facts come from
// reference runtime.md 4 and http-api.md 6.
package logs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sort"
	"strconv"
	"strings"
	"syscall"
)

// newlineWindow is how far before a file's limit a line's end is looked for,
// so that a rotation does not cut a line.
const newlineWindow = 4 << 10

// RotatorConfig bounds one log.
type RotatorConfig struct {
	Dir      string // the host's log directory, made before
	Base     string // "<task>.<type>"
	MaxFiles int    // at least 1
	MaxBytes int64  // of one file, at least 1
}

// Rotator is an io.WriteCloser over the newest file of a log. It is not safe
// for concurrent use.
type Rotator struct {
	cfg   RotatorConfig
	root  *os.Root
	file  *os.File
	index int
	size  int64
}

// NewRotator continues the newest file, or makes the first.
func NewRotator(cfg RotatorConfig) (*Rotator, error) {
	if cfg.MaxFiles < 1 || cfg.MaxBytes < 1 || cfg.Base == "" {
		return nil, fmt.Errorf("cannot rotate log %q: %d files of %d bytes; both must be at least 1", cfg.Base, cfg.MaxFiles, cfg.MaxBytes)
	}
	root, err := os.OpenRoot(cfg.Dir)
	if err != nil {
		return nil, err
	}
	r := &Rotator{cfg: cfg, root: root}
	files, err := list(root.FS(), cfg.Base)
	if err == nil {
		if n := len(files); n > 0 {
			r.index = files[n-1].Index
		}
		err = r.open()
	}
	if err != nil {
		root.Close()
		return nil, err
	}
	return r, nil
}

// open opens the current file for appending, without following links that a
// task may have put there.
func (r *Rotator) open() error {
	name := fileName(r.cfg.Base, r.index)
	if info, err := r.root.Lstat(name); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("cannot write log %s: it is not a regular file", name)
	}
	f, err := r.root.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o644)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return err
	}
	r.file, r.size = f, info.Size()
	return nil
}

// Write appends p, beginning new files as limits ask.
func (r *Rotator) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		room := r.cfg.MaxBytes - r.size
		if room <= 0 {
			if err := r.rotate(); err != nil {
				return written, err
			}
			continue
		}
		n := cut(p, room, r.cfg.MaxBytes)
		if n == 0 { // the line fits whole into the next file
			r.size = r.cfg.MaxBytes
			continue
		}
		m, err := r.file.Write(p[:n])
		written += m
		r.size += int64(m)
		if err != nil {
			return written, err
		}
		p = p[n:]
	}
	return written, nil
}

// cut is how much of p goes into a file of at most limit bytes with the given
// room: all of it, or up to the last line's end near the limit, or nothing when
// the first line fits whole into the next file, or what fits.
func cut(p []byte, room, limit int64) int {
	if int64(len(p)) <= room {
		return len(p)
	}
	window := max(0, int(room)-newlineWindow)
	if i := bytes.LastIndexByte(p[window:room], '\n'); i >= 0 {
		return window + i + 1
	}
	if i := bytes.IndexByte(p, '\n'); i >= 0 && int64(i) < limit && room < limit && room <= newlineWindow {
		return 0
	}
	return int(room)
}

// rotate begins the next file and removes those over the limit.
func (r *Rotator) rotate() error {
	if err := r.file.Close(); err != nil {
		return err
	}
	r.index++
	if err := r.open(); err != nil {
		return err
	}
	files, err := list(r.root.FS(), r.cfg.Base)
	if err != nil {
		return err
	}
	for _, f := range files[:max(0, len(files)-r.cfg.MaxFiles)] {
		if err := r.root.Remove(f.Name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Close closes the current file.
func (r *Rotator) Close() error {
	err := r.file.Close()
	if cerr := r.root.Close(); err == nil {
		err = cerr
	}
	return err
}

// File is one file of a log.
type File struct {
	Name  string
	Index int
	Size  int64
}

func fileName(base string, index int) string { return base + "." + strconv.Itoa(index) }

// list finds the files of a log, oldest first.
func list(fsys fs.FS, base string) ([]File, error) {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil, err
	}
	var out []File
	for _, e := range entries {
		text, ok := strings.CutPrefix(e.Name(), base+".")
		n, err := strconv.Atoi(text)
		if !ok || err != nil || n < 0 || !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if err != nil {
			continue // removed meanwhile
		}
		out = append(out, File{Name: e.Name(), Index: n, Size: info.Size()})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Index < out[j].Index })
	return out, nil
}
