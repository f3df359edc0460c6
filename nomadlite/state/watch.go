package state

import (
	"context"
	"sync"
	"sync/atomic"
)

// Table names a table of the store.
type Table uint8

// Tables. TableAllocs is the columnar table; the others are declared in
// tables.go.
const (
	TableJobs Table = iota
	TableJobVersions
	TableJobSubmissions
	TableJobSummaries
	TableEvals
	TableAllocs
	TableNodes
	TableDeployments
	TableNamespaces
	TableNodePools
	TableSchedulerConfig
	TablePeriodicLaunches
	TableRootKeys
	TableVariables
	TableAutopilot
	TableHostVolumes
	TableServices
	TableScalingEvents
	tableCount
)

type keyKind uint8

const (
	kindTable keyKind = iota
	kindJob
	kindAlloc
	kindEval
	kindNode
	kindDeployment
	kindNodeAllocs
	kindJobAllocs
	kindEvalAllocs
	kindDeploymentAllocs
	kindJobEvals
	kindJobDeployments
	kindVariable
	kindHostVolume
	kindNodeVolumes
	kindService
	kindCount
)

// Key is something that can be watched.
type Key struct {
	kind  keyKind
	table Table
	a, b  string
}

// KeyTable is any change of a table.
func KeyTable(t Table) Key { return Key{kind: kindTable, table: t} }

// KeyJob is one job with its versions, summary and submissions.
func KeyJob(ns, id string) Key { return Key{kind: kindJob, a: ns, b: id} }

// KeyAlloc is one allocation.
func KeyAlloc(id string) Key { return Key{kind: kindAlloc, a: id} }

// KeyEval is one evaluation.
func KeyEval(id string) Key { return Key{kind: kindEval, a: id} }

// KeyNode is one node.
func KeyNode(id string) Key { return Key{kind: kindNode, a: id} }

// KeyDeployment is one deployment.
func KeyDeployment(id string) Key { return Key{kind: kindDeployment, a: id} }

// KeyNodeAllocs is the allocations of a node.
func KeyNodeAllocs(nodeID string) Key { return Key{kind: kindNodeAllocs, a: nodeID} }

// KeyJobAllocs is the allocations of a job.
func KeyJobAllocs(ns, id string) Key { return Key{kind: kindJobAllocs, a: ns, b: id} }

// KeyEvalAllocs is the allocations of an evaluation.
func KeyEvalAllocs(evalID string) Key { return Key{kind: kindEvalAllocs, a: evalID} }

// KeyDeploymentAllocs is the allocations of a deployment.
func KeyDeploymentAllocs(id string) Key { return Key{kind: kindDeploymentAllocs, a: id} }

// KeyJobEvals is the evaluations of a job.
func KeyJobEvals(ns, id string) Key { return Key{kind: kindJobEvals, a: ns, b: id} }

// KeyJobDeployments is the deployments of a job.
func KeyJobDeployments(ns, id string) Key { return Key{kind: kindJobDeployments, a: ns, b: id} }

// KeyVariable is one variable.
func KeyVariable(ns, path string) Key { return Key{kind: kindVariable, a: ns, b: path} }

// KeyService is the instances of one service.
func KeyService(ns, name string) Key { return Key{kind: kindService, a: ns, b: name} }

// Watcher is woken when one of its keys changed. Wake-ups coalesce: one value
// in C stands for any number of changes, so the owner reads the state again
// instead of counting.
type Watcher struct {
	hub  *hub
	keys []Key
	c    chan struct{}
}

// C receives after a change. It is never closed.
func (w *Watcher) C() <-chan struct{} { return w.c }

// Close ends the watch.
func (w *Watcher) Close() { w.hub.remove(w) }

func (w *Watcher) wake() {
	select {
	case w.c <- struct{}{}:
	default:
	}
}

// hub finds the watchers of changed keys.
type hub struct {
	// counts of registered keys by kind let a commit skip kinds that nobody
	// watches without taking the mutex.
	counts [kindCount]atomic.Int64

	mu       sync.Mutex
	watchers map[Key]map[*Watcher]struct{}
}

func newHub() *hub { return &hub{watchers: make(map[Key]map[*Watcher]struct{})} }

func (h *hub) add(keys []Key) *Watcher {
	w := &Watcher{hub: h, keys: keys, c: make(chan struct{}, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, k := range keys {
		set := h.watchers[k]
		if set == nil {
			set = make(map[*Watcher]struct{}, 1)
			h.watchers[k] = set
		}
		set[w] = struct{}{}
		h.counts[k.kind].Add(1)
	}
	return w
}

func (h *hub) remove(w *Watcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, k := range w.keys {
		set := h.watchers[k]
		if _, ok := set[w]; !ok {
			continue
		}
		delete(set, w)
		h.counts[k.kind].Add(-1)
		if len(set) == 0 {
			delete(h.watchers, k)
		}
	}
	w.keys = nil
}

// watched reports whether anybody watches a key of the kind. The count is
// raised before the watcher reads the state. A transaction that found nobody
// asks again after it has published: whoever it misses then reads later.
func (h *hub) watched(kind keyKind) bool { return h.counts[kind].Load() > 0 }

func (h *hub) notify(dirty map[Key]struct{}) {
	if len(dirty) == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.watchers) < len(dirty) {
		for k, set := range h.watchers {
			if _, ok := dirty[k]; ok {
				wakeAll(set)
			}
		}
		return
	}
	for k := range dirty {
		wakeAll(h.watchers[k])
	}
}

// notifyLate wakes all watchers of kinds that were not marked because nobody
// watched them then.
func (h *hub) notifyLate(skipped [kindCount]bool) {
	late := false
	for kind := range skipped {
		skipped[kind] = skipped[kind] && h.watched(keyKind(kind))
		late = late || skipped[kind]
	}
	if !late {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for k, set := range h.watchers {
		if skipped[k.kind] {
			wakeAll(set)
		}
	}
}

func (h *hub) notifyAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, set := range h.watchers {
		wakeAll(set)
	}
}

func wakeAll(set map[*Watcher]struct{}) {
	for w := range set {
		w.wake()
	}
}

// Watch registers a watch of keys. To miss nothing: Watch, then Snapshot, then
// compare, then wait for C.
func (s *Store) Watch(keys ...Key) *Watcher { return s.hub.add(keys) }

// Block calls read with the newest snapshot, again after every change of keys,
// until the index that it returns is greater than minIndex, the context ends
// or the state is replaced by a Restore. With minIndex 0 it reads once. It
// returns nil also when the context's deadline ended the wait (the last read
// stands), and the context's error when it was canceled.
func (s *Store) Block(ctx context.Context, minIndex uint64, keys []Key, read func(*Snapshot) uint64) error {
	if minIndex == 0 {
		read(s.Snapshot())
		return ctx.Err()
	}
	w := s.Watch(keys...)
	defer w.Close()
	replaced := s.Replaced()
	for {
		if read(s.Snapshot()) > minIndex {
			return nil
		}
		select {
		case <-w.C():
		case <-replaced:
			read(s.Snapshot())
			return nil
		case <-ctx.Done():
			if ctx.Err() == context.Canceled {
				return ctx.Err()
			}
			return nil
		}
	}
}

// KeyHostVolume is one dynamic host volume.
func KeyHostVolume(id string) Key { return Key{kind: kindHostVolume, a: id} }

// KeyNodeVolumes is the dynamic host volumes of a node.
func KeyNodeVolumes(nodeID string) Key { return Key{kind: kindNodeVolumes, a: nodeID} }
