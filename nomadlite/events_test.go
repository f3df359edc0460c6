package nomadlite

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/nomadlite/nomadlite/structs"
)

// TestEventStream follows a job over HTTP: what is new, what was, what is of
// another namespace; then the wrong questions.
func TestEventStream(t *testing.T) {
	s, _ := startServer(t, "")
	s.join()
	ctx := s.context()
	stream, err := s.client.Events(ctx, []string{"Job", "Evaluation:web", "Allocation"}, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if f, err := stream.Next(); err != nil || len(f.Events) > 0 {
		t.Fatalf("no heartbeat first: %+v %v", f, err)
	}
	s.register(testJob("web", structs.JobTypeService))
	seen := map[string]bool{}
	last := uint64(0)
	for !seen["Allocation PlanResult"] {
		f, err := stream.Next()
		if err != nil {
			t.Fatal(err)
		}
		if f.Index <= last {
			t.Errorf("index %d after %d", f.Index, last)
		}
		last = f.Index
		for _, e := range f.Events {
			seen[e.Topic+" "+e.Type] = true
			if e.Index != f.Index || e.Namespace != "default" || e.FilterKeys == nil {
				t.Errorf("%+v", e)
			}
			var payload struct {
				Job        *structs.Job
				Allocation *struct {
					ID  string
					Job *structs.Job
				}
			}
			if err := json.Unmarshal(e.Payload, &payload); err != nil {
				t.Fatal(err)
			}
			if e.Topic == "Job" && (payload.Job == nil || payload.Job.ID != "web") ||
				e.Topic == "Allocation" && (payload.Allocation == nil || payload.Allocation.ID != e.Key || payload.Allocation.Job != nil) {
				t.Errorf("payload of %s: %s", e.Topic, e.Payload)
			}
		}
	}
	if !seen["Job JobRegistered"] || !seen["Evaluation JobRegistered"] || !seen["Evaluation PlanResult"] {
		t.Errorf("saw %v", seen)
	}
	past, err := s.client.Events(ctx, []string{"Node"}, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer past.Close()
	_, _ = past.Next()
	if f, err := past.Next(); err != nil || len(f.Events) != 1 || f.Events[0].Type != "NodeRegistration" || strings.Contains(string(f.Events[0].Payload), s.node.SecretID) {
		t.Errorf("%+v %v", f, err)
	}
	_, err = s.client.Events(ctx, []string{"Job:a:b"}, 0, nil)
	fails(t, "two keys", err, `400 (Invalid topic query: "Job:a:b" is not of the form Topic or Topic:key)`)
	_, err = s.client.Get(ctx, "/v1/event/stream?payload=some", nil, nil)
	fails(t, "payload", err, `400 (Invalid payload "some": it is full or stub)`)
	_, err = s.client.Get(ctx, "/v1/event/stream?index=x", nil, nil)
	fails(t, "index", err, `400 (Invalid index)`)
}

// TestEventStreamIsPlain: nobody compresses a stream for each of a thousand
// readers, whatever they accept.
func TestEventStreamIsPlain(t *testing.T) {
	s, _ := startServer(t, "")
	req, err := http.NewRequestWithContext(s.context(), http.MethodGet, s.client.Address()+"/v1/event/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept-Encoding", "gzip")
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	first := make([]byte, 3)
	if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != "{}\n" || resp.Header.Get("Content-Encoding") != "" ||
		resp.Header.Get("Content-Type") != "application/json" || resp.Header.Get("Cache-Control") != "no-cache" {
		t.Errorf("%q %v %v", first, err, resp.Header)
	}
}
