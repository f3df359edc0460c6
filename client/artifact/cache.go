package artifact

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/nomadlite/nomadlite/client/artifact/fetch"
)

// Cache keeps files that were fetched, by their checksum, for the next task
// that wants the same. Its folder is the agent's own; the names in it are made
// of hashes alone.
type Cache struct {
	dir string
	max int64 // bytes

	mu   sync.Mutex // guards busy, and changes of the folder
	busy map[string]chan struct{}
}

// NewCache opens the cache in a folder; max bounds it, in bytes, and 0 keeps
// nothing. What an earlier agent was writing is removed.
func NewCache(dir string, max int64) (*Cache, error) {
	c := &Cache{dir: dir, max: max, busy: map[string]chan struct{}{}}
	if max <= 0 {
		return c, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the folder of the artifact cache: %w", err)
	}
	unfinished, err := filepath.Glob(filepath.Join(dir, tempPrefix+"*"))
	for _, name := range unfinished {
		err = errors.Join(err, os.Remove(name))
	}
	return c, err
}

const tempPrefix = "unfinished-"

// key names a file in the cache, "" for one that is not kept. Only checksums
// that nobody can forge count, and what one namespace fetched is not another's:
// who knows a checksum need not have the right to fetch the file.
func (c *Cache) key(namespace string, s *fetch.Source) string {
	if c.max <= 0 || s.Getter == "file" || s.Sum.Type != "sha256" && s.Sum.Type != "sha512" {
		return ""
	}
	sum := sha256.Sum256([]byte(namespace + "\x00" + s.Sum.Type + "\x00" + s.Sum.Hex))
	return hex.EncodeToString(sum[:])
}

// lock waits until no other fetch works for the same key.
func (c *Cache) lock(ctx context.Context, key string) (unlock func(), err error) {
	for {
		c.mu.Lock()
		wait := c.busy[key]
		if wait == nil {
			done := make(chan struct{})
			c.busy[key] = done
			c.mu.Unlock()
			return func() {
				c.mu.Lock()
				delete(c.busy, key)
				c.mu.Unlock()
				close(done)
			}, nil
		}
		c.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// open returns a kept file, nil for none.
func (c *Cache) open(key string) *os.File {
	name := filepath.Join(c.dir, key)
	f, err := os.Open(name)
	if err != nil {
		return nil
	}
	now := time.Now()
	_ = os.Chtimes(name, now, now) // the oldest use goes first
	return f
}

// drop forgets a file.
func (c *Cache) drop(key string) { _ = os.Remove(filepath.Join(c.dir, key)) }

// add keeps a copy of a file that nobody else writes to, and makes room for it.
func (c *Cache) add(key string, from *os.File) error {
	info, err := from.Stat()
	if err != nil || info.Size() > c.max/2 {
		return err
	}
	if err := c.room(info.Size()); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(c.dir, tempPrefix+"*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	if _, err = from.Seek(0, io.SeekStart); err == nil {
		_, err = io.Copy(tmp, from) // the kernel shares the blocks where the file system can
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), filepath.Join(c.dir, key))
}

// room removes the files that nobody used for the longest until size more
// bytes fit.
func (c *Cache) room(size int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return err
	}
	var kept []os.FileInfo
	total := size
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || strings.HasPrefix(e.Name(), tempPrefix) {
			continue
		}
		kept, total = append(kept, info), total+info.Size()
	}
	sort.Slice(kept, func(i, j int) bool { return kept[i].ModTime().Before(kept[j].ModTime()) })
	for _, info := range kept {
		if total <= c.max {
			return nil
		}
		if err := os.Remove(filepath.Join(c.dir, info.Name())); err != nil {
			return err
		}
		total -= info.Size()
	}
	return nil
}
