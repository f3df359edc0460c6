package nomadlite

import (
	"context"
	"net/http"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/nomadlite/events"
	"github.com/nomadlite/nomadlite/nomadlite/fsm"
	"github.com/nomadlite/nomadlite/structs"
)

// causes are the contract's names of what a log entry did (http-api.md 13).
// An entry without one gives its events the name of their topic's changes.
var causes = map[fsm.Type]string{
	fsm.JobRegister: "JobRegistered", fsm.JobScale: "JobRegistered", fsm.JobDeregister: "JobDeregistered",
	fsm.EvalUpsert: "EvaluationUpdated", fsm.PlanApply: "PlanResult",
	fsm.AllocReports: "AllocationUpdated", fsm.AllocTransition: "AllocationUpdateDesiredStatus",
	fsm.NodeRegister: "NodeRegistration", fsm.NodeStatus: "NodeStreamEvent", fsm.NodeEligibility: "NodeEligibility",
	fsm.NodeDrain: "NodeDrain", fsm.NodeDelete: "NodeDeregistration",
	fsm.DeploymentStatus: "DeploymentStatusUpdate", fsm.DeploymentPromote: "DeploymentPromotion",
	fsm.DeploymentAllocHealth: "DeploymentAllocHealth",
}

// eventCapabilities say what the events of a topic need; topics that are not
// here need a management token.
var eventCapabilities = map[string]api.Capability{
	events.TopicJob: "ns:read-job", events.TopicEvaluation: "ns:read-job", events.TopicAllocation: "ns:read-job",
	events.TopicDeployment: "ns:read-job", events.TopicService: "ns:read-job", events.TopicHostVolume: "ns:host-volume-read", events.TopicNode: "node:read", events.TopicVariable: "ns:*",
}

// newEvents makes the ring of events of a server.
func newEvents(size int) *events.Ring {
	return events.New(events.Config{
		Size:      size,
		Cause:     func(cause uint16) string { return causes[fsm.Type(cause)] },
		Alloc:     func(a *structs.Allocation) any { return showAlloc(a) },
		AllocStub: func(a *structs.Allocation) any { return showAllocStub(a) },
	}, 0)
}

// streamEvents follows the changes of the state. Each event needs the right of
// its topic; without any of a topic that was asked for by name there is no
// stream.
func (e *endpoints) streamEvents(_ context.Context, r *api.Request) (*api.Response, error) {
	if e.events == nil {
		return nil, structs.Errorf(structs.Unsupported, "cannot stream events: enable_event_broker is off on this server")
	}
	keys, err := events.ParseTopics(r.Values["topic"])
	if err != nil {
		return nil, err
	}
	allows := func(topic, namespace string) bool {
		capability, ok := eventCapabilities[topic]
		return r.ACL.Management() || ok && r.ACL.Allows(capability, namespace)
	}
	for topic := range keys {
		if topic != events.TopicAll && !allows(topic, r.Query.Namespace) {
			return nil, structs.Errorf(structs.Denied, "Permission denied")
		}
	}
	filter := &events.Filter{Keys: keys, Namespace: r.Query.Namespace}
	switch payload := r.Values.Get("payload"); payload {
	case "", "full":
	case "stub":
		filter.Stubs = true
	default:
		return nil, structs.Errorf(structs.Invalid, "Invalid payload %q: it is full or stub", payload)
	}
	if !r.ACL.Management() {
		filter.Allows = allows
	}
	return &api.Response{Status: http.StatusOK, Stream: func(ctx context.Context, w *api.StreamWriter) error {
		w.Header().Set("Cache-Control", "no-cache")
		w.Header().Set("Connection", "close")
		w.Uncompressed()
		return e.events.Stream(ctx, filter, r.Query.Index, w)
	}}, nil
}
