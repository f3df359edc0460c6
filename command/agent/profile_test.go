package agent

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/nomadlite/nomadlite/structs"
)

func TestProfiles(t *testing.T) {
	for _, name := range []string{"cmdline", "profile", "trace", "heap", "goroutine"} {
		var body bytes.Buffer
		if err := writeProfile(t.Context(), &body, name, 0, "", true); err != nil || body.Len() == 0 {
			t.Errorf("%s: %d bytes, %v", name, body.Len(), err)
		}
	}
	var body bytes.Buffer
	err := writeProfile(context.Background(), &body, "nothing", 0, "", false)
	var e *structs.Error
	if !errors.As(err, &e) || e.Kind != structs.NotFound {
		t.Errorf("an unknown profile: %v", err)
	}
}
