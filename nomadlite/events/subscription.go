package events

import (
	"bytes"
	"context"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nomadlite/nomadlite/structs"
)

// Heartbeat is the pause after which an idle stream sends "{}".
const Heartbeat = 30 * time.Second

// Pace is the least time between two writes to a stream while changes come
// fast: what came meanwhile goes out as one write. The first change after a
// pause goes out at once. A ring that fills cuts the pause short.
const Pace = 100 * time.Millisecond

// maxTopics bounds the topics of one subscription.
const maxTopics = 100

// Filter says which events a subscription wants.
type Filter struct {
	// Keys are the wanted keys by topic; "*" among them is every key, "*" as
	// topic every topic.
	Keys map[string][]string
	// Allows says whether an event may be seen. Nil allows all.
	Allows func(topic, namespace string) bool
	// Namespace is the one of which events are wanted, "*" for all. Events
	// without a namespace are in each.
	Namespace string
	// Stubs asks for what lists show of jobs, nodes and allocations, where
	// events otherwise hold all of them.
	Stubs bool
}

// ParseTopics reads "Topic", "Topic:key" and "Topic:*"; none is every topic.
func ParseTopics(list []string) (map[string][]string, error) {
	if len(list) > maxTopics {
		return nil, structs.Errorf(structs.Invalid, "Invalid topic query: %d topics, at most %d are allowed", len(list), maxTopics)
	}
	out := map[string][]string{}
	for _, text := range list {
		name, key, given := strings.Cut(text, ":")
		switch {
		case strings.Contains(key, ":") || name == "":
			return nil, structs.Errorf(structs.Invalid, "Invalid topic query: %q is not of the form Topic or Topic:key", text)
		case name != TopicAll && !slices.Contains(TopicNames(), name):
			return nil, structs.Errorf(structs.Invalid, "Invalid topic query: no topic %q; there are %s", name, strings.Join(TopicNames(), ", "))
		case !given || key == "":
			key = "*"
		}
		out[name] = append(out[name], key)
	}
	if len(out) == 0 {
		out[TopicAll] = []string{"*"}
	}
	return out, nil
}

// wants reports whether an event passes the filter.
func (f *Filter) wants(e *Event) bool {
	if e.Namespace != "" && f.Namespace != structs.AllNamespaces && e.Namespace != f.Namespace {
		return false
	}
	if !f.key(f.Keys[e.Topic], e) && !f.key(f.Keys[TopicAll], e) {
		return false
	}
	return f.Allows == nil || f.Allows(e.Topic, e.Namespace)
}

func (f *Filter) key(keys []string, e *Event) bool {
	for _, k := range keys {
		if k == "*" || k == e.Key || slices.Contains(e.FilterKeys, k) {
			return true
		}
	}
	return false
}

// Stream writes events until ctx ends, w fails or the reader falls behind: a
// heartbeat at once, then one line an index. from is the first index that is
// wanted, 0 for what is new. A reader that asks for more than is kept, or that
// is too slow, gets a gap as its last line.
func (r *Ring) Stream(ctx context.Context, f *Filter, from uint64, w io.Writer) error {
	r.count(1)
	defer r.count(-1)
	after, life := r.newest()
	if from > 0 {
		after = from - 1
	}
	if _, err := w.Write([]byte("{}\n")); err != nil {
		return err
	}
	idle := time.NewTimer(Heartbeat)
	defer idle.Stop()
	pace := time.NewTimer(Pace)
	defer pace.Stop()
	var buf bytes.Buffer
	for {
		fill := r.fill() // before the read, so that nothing comes between
		entries, wait, gap := r.read(after, life)
		if gap {
			_, err := w.Write(r.gapFrame(after + 1))
			return err
		}
		buf.Reset()
		for _, e := range entries {
			after = e.index
			if err := r.frame(&buf, f, e); err != nil {
				return err
			}
		}
		if buf.Len() > 0 {
			if _, err := w.Write(buf.Bytes()); err != nil {
				return err
			}
			idle.Reset(Heartbeat)
			if len(entries) < maxRead {
				pace.Reset(Pace)
				select {
				case <-ctx.Done():
					return nil
				case <-pace.C:
				case <-fill:
				}
			}
		}
		if len(entries) > 0 {
			continue // more may have come meanwhile
		}
		select {
		case <-ctx.Done():
			return nil
		case <-wait:
		case <-idle.C:
			if _, err := w.Write([]byte("{}\n")); err != nil {
				return err
			}
			idle.Reset(Heartbeat)
		}
	}
}

// frame appends the line of an entry, nothing when no event of it is wanted.
func (r *Ring) frame(buf *bytes.Buffer, f *Filter, e *entry) error {
	began := false
	for _, ev := range r.list(e) {
		if !f.wants(ev) {
			continue
		}
		raw, err := ev.encoded(f.Stubs)
		if err != nil {
			return err
		}
		if began {
			buf.WriteByte(',')
		} else {
			began = true
			buf.WriteString(`{"Index":`)
			buf.Write(strconv.AppendUint(buf.AvailableBuffer(), e.index, 10))
			buf.WriteString(`,"Events":[`)
		}
		buf.Write(raw)
	}
	if began {
		buf.WriteString("]}\n")
	}
	return nil
}

// gapFrame is the last line of a stream that missed something: the index after
// which everything is there, so that resuming behind it works.
func (r *Ring) gapFrame(asked uint64) []byte {
	oldest := r.oldest()
	e := &Event{Topic: TopicStream, Type: "Gap", Key: "gap", Index: oldest, FilterKeys: []string{},
		Payload: map[string]any{"Gap": map[string]uint64{"Asked": asked, "Oldest": oldest + 1}}}
	raw, err := e.encoded(false)
	if err != nil { // of numbers and fixed texts: it cannot fail
		return []byte("{}\n")
	}
	return []byte(`{"Index":` + strconv.FormatUint(oldest, 10) + `,"Events":[` + string(raw) + "]}\n")
}
