package events

import (
	"encoding/json"
	"maps"
	"slices"
	"sync"

	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// Event is one changed object. The fields, but for what is private, are the
// contract's (http-api.md 13).
type Event struct {
	Topic      string
	Type       string
	Key        string
	Namespace  string
	FilterKeys []string
	Index      uint64
	Payload    map[string]any

	stub        map[string]any // Payload for who wants stubs; nil where that is the same
	whole, slim encoding
}

// encoding is an event as JSON.
type encoding struct {
	once sync.Once
	raw  []byte
	err  error
}

// encoded is the event as JSON, with its stub when that is wanted. Either is
// made once.
func (e *Event) encoded(stub bool) ([]byte, error) {
	if !stub || e.stub == nil {
		e.whole.once.Do(func() { e.whole.raw, e.whole.err = json.Marshal(e) })
		return e.whole.raw, e.whole.err
	}
	e.slim.once.Do(func() {
		shown := &Event{Topic: e.Topic, Type: e.Type, Key: e.Key, Namespace: e.Namespace, FilterKeys: e.FilterKeys, Index: e.Index, Payload: e.stub}
		e.slim.raw, e.slim.err = json.Marshal(shown)
	})
	return e.slim.raw, e.slim.err
}

// Topics with the capability that their events need, and whether they belong
// to namespaces.
const (
	TopicJob        = "Job"
	TopicEvaluation = "Evaluation"
	TopicAllocation = "Allocation"
	TopicDeployment = "Deployment"
	TopicNode       = "Node"
	TopicNodePool   = "NodePool"
	TopicVariable   = "Variable"
	TopicService    = "Service"
	TopicHostVolume = "HostVolume"
	// TopicAll is every topic, TopicStream is the stream itself: its one event
	// is a gap.
	TopicAll    = "*"
	TopicStream = "Stream"
)

// topic is a row of the table of topics.
type topic struct {
	name string
	// fallback is the type of events whose cause has no name.
	fallback string
	// removed shows what was removed as well; without it removals are silent.
	removed bool
	fill    func(e *Event, noun any, deleted bool)
	// stub is what lists show of the noun, nil where that is all of it.
	stub func(after *state.Snapshot, noun any) any
}

// topics by the table that they are about.
var topics = map[state.Table]topic{
	state.TableJobs: {name: TopicJob, fallback: "JobRegistered", removed: true, fill: func(e *Event, noun any, deleted bool) {
		j := noun.(*structs.Job)
		e.Key, e.Namespace, e.Payload = j.ID, j.Namespace, map[string]any{"Job": j}
		if deleted {
			e.Type, e.Payload["Deleted"] = "JobDeregistered", true
		}
	}, stub: func(after *state.Snapshot, noun any) any {
		j := noun.(*structs.Job)
		return j.Stub(after.JobSummary(j.Namespace, j.ID))
	}},
	state.TableEvals: {name: TopicEvaluation, fallback: "EvaluationUpdated", fill: func(e *Event, noun any, _ bool) {
		v := noun.(*structs.Evaluation)
		e.Key, e.Namespace, e.Payload = v.ID, v.Namespace, map[string]any{"Evaluation": v}
		e.FilterKeys = []string{v.JobID, v.DeploymentID}
	}},
	state.TableDeployments: {name: TopicDeployment, fallback: "DeploymentStatusUpdate", fill: func(e *Event, noun any, _ bool) {
		d := noun.(*structs.Deployment)
		e.Key, e.Namespace, e.Payload = d.ID, d.Namespace, map[string]any{"Deployment": d}
		e.FilterKeys = []string{d.JobID}
	}},
	state.TableNodes: {name: TopicNode, fallback: "NodeStreamEvent", removed: true, fill: func(e *Event, noun any, deleted bool) {
		n := noun.(*structs.Node)
		e.Key, e.Payload = n.ID, map[string]any{"Node": n}
		if deleted {
			e.Type = "NodeDeregistration"
		}
	}, stub: func(_ *state.Snapshot, noun any) any { return noun.(*structs.Node).Stub() }},
	state.TableNodePools: {name: TopicNodePool, fallback: "NodePoolUpserted", removed: true, fill: func(e *Event, noun any, deleted bool) {
		p := noun.(*structs.NodePool)
		e.Key, e.Payload = p.Name, map[string]any{"NodePool": p}
		if deleted {
			e.Type = "NodePoolDeleted"
		}
	}},
	state.TableVariables: {name: TopicVariable, fallback: "VariableUpdated", removed: true, fill: func(e *Event, noun any, deleted bool) {
		v := noun.(*state.SealedVariable) // the items stay sealed
		e.Key, e.Namespace, e.Payload = v.Path, v.Namespace, map[string]any{"Metadata": &v.VariableMetadata}
		e.Payload["Deleted"] = deleted
	}},
	state.TableServices: {name: TopicService, fallback: "ServiceRegistration", removed: true, fill: func(e *Event, noun any, deleted bool) {
		v := noun.(*structs.ServiceRegistration)
		e.Key, e.Namespace, e.Payload = v.ID, v.Namespace, map[string]any{"Service": v}
		e.FilterKeys = []string{v.JobID, v.ServiceName}
		if e.Type = "ServiceRegistration"; deleted {
			e.Type = "ServiceDeregistration"
		}
	}},
	state.TableHostVolumes: {name: TopicHostVolume, fallback: "HostVolumeRegistered", removed: true, fill: func(e *Event, noun any, deleted bool) {
		v := noun.(*structs.HostVolume)
		e.Key, e.Namespace, e.Payload = v.ID, v.Namespace, map[string]any{"Volume": v}
		e.FilterKeys = []string{v.Name, v.PluginID, v.NodeID}
		if deleted {
			e.Type = "HostVolumeDeleted"
		}
	}},
}

// TopicNames are all topics, in order.
func TopicNames() []string {
	names := []string{TopicAllocation}
	for _, t := range topics {
		names = append(names, t.name)
	}
	slices.Sort(names)
	return names
}

// events makes the events of an entry: one for each object that it changed,
// tables in the order of their first change.
func (r *Ring) events(c *state.Changed) []*Event {
	cause, index := "", c.After.Index()
	if r.cfg.Cause != nil {
		cause = r.cfg.Cause(c.Cause)
	}
	var out []*Event
	at := map[[3]string]int{}
	add := func(e *Event) {
		key := [3]string{e.Topic, e.Namespace, e.Key}
		if i, again := at[key]; again {
			out[i] = e
			return
		}
		at[key] = len(out)
		out = append(out, e)
	}
	for _, row := range c.Rows {
		t, known := topics[row.Table]
		noun, deleted := row.After, row.After == nil
		if deleted {
			noun = row.Before
		}
		if !known || noun == nil || deleted && !t.removed {
			continue
		}
		e := &Event{Topic: t.name, Type: cause, Index: index, FilterKeys: []string{}}
		if e.Type == "" {
			e.Type = t.fallback
		}
		t.fill(e, noun, deleted)
		if t.stub != nil {
			e.stub = maps.Clone(e.Payload) // one key is the topic's, as in all topics with stubs
			e.stub[t.name] = t.stub(c.After, noun)
		}
		add(e)
	}
	for _, number := range c.Allocs {
		if a := c.After.AllocByNumber(number); a != nil {
			add(r.allocEvent(a, cause, index))
		}
	}
	return out
}

func (r *Ring) allocEvent(a *structs.Allocation, cause string, index uint64) *Event {
	shown := *a
	shown.Job = nil
	e := &Event{Topic: TopicAllocation, Type: cause, Key: a.ID, Namespace: a.Namespace, Index: index,
		FilterKeys: []string{a.JobID, a.DeploymentID}, Payload: map[string]any{"Allocation": &shown}}
	if e.Type == "" {
		e.Type = "AllocationUpdated"
	}
	if r.cfg.Alloc != nil {
		e.Payload["Allocation"] = r.cfg.Alloc(&shown)
	}
	if r.cfg.AllocStub != nil {
		e.stub = map[string]any{"Allocation": r.cfg.AllocStub(a)}
	}
	return e
}
