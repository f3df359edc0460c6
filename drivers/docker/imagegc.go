package docker

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/image"
	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"github.com/nomadlite/nomadlite/wholefile"
)

// imageStore counts who uses which image and removes those that this driver
// fetched and nobody needs any more. Images that were there before are never
// touched: nothing could bring them back. What was fetched is remembered on
// disk, so that images outlive restarts of the driver without being forgotten.
type imageStore struct {
	log    hclog.Logger
	file   string // "" keeps nothing
	remove func(ctx context.Context, id string, names []string) error
	now    func() time.Time

	mu      sync.Mutex // guards what follows
	fetched map[string]*fetchedImage
	users   map[string]map[string]bool // image id to task ids
}

// fetchedImage is an image that this driver pulled or loaded.
type fetchedImage struct {
	Names []string
	Idle  time.Time // since when nobody uses it
}

// imageFile is where the store is kept below the plugin's directory.
const imageFile = "images.json"

// newImageStore reads what an earlier process fetched. All of it is idle from
// now on, until tasks are recovered.
func newImageStore(dir string, log hclog.Logger, remove func(context.Context, string, []string) error) *imageStore {
	s := &imageStore{
		log: log, remove: remove, now: time.Now, fetched: map[string]*fetchedImage{}, users: map[string]map[string]bool{},
	}
	if dir == "" {
		return s
	}
	s.file = filepath.Join(dir, imageFile)
	raw, err := os.ReadFile(s.file)
	if err == nil {
		err = json.Unmarshal(raw, &s.fetched)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		log.Warn("cannot read which images were fetched: they stay until somebody removes them", "file", s.file, "error", err)
	}
	if s.fetched == nil {
		s.fetched = map[string]*fetchedImage{}
	}
	for id, f := range s.fetched {
		if f == nil {
			delete(s.fetched, id)
			continue
		}
		f.Idle = s.now()
	}
	return s
}

// use says that a task needs an image; fetched that it was brought for it. An
// image that is removed between its being found and this call is missed when
// the container is made, and found again then.
func (s *imageStore) use(id, taskID, name string, fetched bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users[id] == nil {
		s.users[id] = map[string]bool{}
	}
	s.users[id][taskID] = true
	if !fetched {
		return
	}
	f := s.fetched[id]
	if f == nil {
		f = &fetchedImage{}
		s.fetched[id] = f
	}
	if !slices.Contains(f.Names, name) {
		f.Names = append(f.Names, name)
	}
	s.save()
}

// release says that a task needs its image no more.
func (s *imageStore) release(id, taskID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.users[id], taskID)
	if len(s.users[id]) == 0 {
		delete(s.users, id)
		if f := s.fetched[id]; f != nil {
			f.Idle = s.now()
		}
	}
}

// save writes the store; the caller holds mu.
func (s *imageStore) save() {
	if s.file == "" {
		return
	}
	raw, err := json.Marshal(s.fetched)
	if err == nil {
		err = wholefile.Write(s.file, raw, 0o600)
	}
	if err != nil {
		s.log.Warn("cannot keep which images were fetched", "file", s.file, "error", err)
	}
}

// due lists the images to remove: idle for the delay, or, when the disk is
// full, all that are idle, longest first.
func (s *imageStore) due(site *pluginConfig, full bool) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
next:
	for id, f := range s.fetched {
		if len(s.users[id]) > 0 || !full && s.now().Sub(f.Idle) < site.imageDelay {
			continue
		}
		for _, name := range f.Names {
			if site.pinned(name) {
				continue next
			}
		}
		out = append(out, id)
	}
	slices.SortFunc(out, func(a, b string) int { return s.fetched[a].Idle.Compare(s.fetched[b].Idle) })
	return out
}

// sweep removes what is due.
func (s *imageStore) sweep(ctx context.Context, site *pluginConfig, full func() bool) {
	if !site.removeImages {
		return
	}
	pressed := full()
	for _, id := range s.due(site, pressed) {
		names, ok := s.claim(id)
		if !ok {
			continue // a task came meanwhile
		}
		err := s.remove(ctx, id, names)
		s.mu.Lock()
		delete(s.users[id], "")
		if len(s.users[id]) == 0 {
			delete(s.users, id)
		}
		if err == nil || cerrdefs.IsNotFound(err) {
			delete(s.fetched, id)
			s.save()
		} else if f := s.fetched[id]; f != nil {
			f.Idle = s.now() // used by somebody else: later again
		}
		s.mu.Unlock()
		if err != nil && !cerrdefs.IsNotFound(err) {
			s.log.Warn("cannot remove an image that no task uses; trying again later", "image", id, "error", err)
		}
		if pressed && !full() {
			return
		}
	}
}

// claim marks an image as being removed if nobody uses it.
func (s *imageStore) claim(id string) (names []string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.fetched[id]
	if len(s.users[id]) > 0 || f == nil {
		return nil, false
	}
	s.users[id] = map[string]bool{"": true}
	return slices.Clone(f.Names), true
}

// pruned is how an image is removed: with its parents, not by force.
var pruned = image.RemoveOptions{PruneChildren: true}

// diskFull reports whether the file system of the engine's data is fuller
// than the site wants. Where it cannot be seen it is not.
func diskFull(root string, percent int) bool {
	var st unix.Statfs_t
	if root == "" || unix.Statfs(root, &st) != nil || st.Blocks == 0 {
		return false
	}
	return (st.Blocks-st.Bavail)*100/st.Blocks >= uint64(percent)
}
