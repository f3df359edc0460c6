package nomadlite

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nomadlite/nomadlite/structs"
)

// TestHealthEvents: a driver that becomes better or worse is an event with its
// cause; one that is new, or only says it differently, is none.
func TestHealthEvents(t *testing.T) {
	healthy := &structs.DriverInfo{Detected: true, Healthy: true, HealthDescription: "Healthy"}
	sick := &structs.DriverInfo{Detected: true, HealthDescription: "the engine is gone"}
	sicker := &structs.DriverInfo{Detected: true, HealthDescription: "the engine is gone for good"}
	absent := &structs.DriverInfo{HealthDescription: "its process ended"}
	type drivers = map[string]*structs.DriverInfo
	for name, tt := range map[string]struct {
		old, now drivers
		want     []string
	}{
		"same":           {drivers{"a": healthy}, drivers{"a": healthy}, nil},
		"new":            {drivers{}, drivers{"a": sick}, nil},
		"gone":           {drivers{"a": healthy}, drivers{}, nil},
		"other words":    {drivers{"a": sick}, drivers{"a": sicker}, nil},
		"worse":          {drivers{"a": healthy}, drivers{"a": sick}, []string{"a: the engine is gone"}},
		"lost":           {drivers{"a": sick}, drivers{"a": absent}, []string{"a: its process ended"}},
		"better, sorted": {drivers{"b": sick, "a": absent}, drivers{"b": healthy, "a": healthy}, []string{"a: Healthy", "b: Healthy"}},
	} {
		var got []string
		for _, e := range healthEvents(tt.old, tt.now, time.Unix(1, 0)) {
			if e.Subsystem != structs.NodeEventSubsystemDriver {
				t.Errorf("%s: subsystem %q", name, e.Subsystem)
			}
			got = append(got, e.Details["driver"]+": "+e.Message)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
