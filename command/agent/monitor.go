package agent

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// monitorBuffer is how many log lines a slow reader may be behind before lines
// are dropped; the log itself never waits.
const monitorBuffer = 512

// monitor streams the agent's log at a level of the caller's choice.
func (a *Agent) monitor(_ context.Context, r *api.Request) (*api.Response, error) {
	text := r.Values.Get("log_level")
	if text == "" {
		text = "INFO"
	}
	level := hclog.LevelFromString(strings.ToUpper(text))
	if level == hclog.NoLevel {
		return nil, structs.Errorf(structs.Invalid, "Unknown log level: %s", text)
	}
	if err := a.localTarget(r); err != nil {
		return nil, err
	}
	plain, _ := strconv.ParseBool(r.Values.Get("plain"))
	asJSON, _ := strconv.ParseBool(r.Values.Get("log_json"))
	location, _ := strconv.ParseBool(r.Values.Get("log_include_location"))
	return &api.Response{Stream: func(ctx context.Context, w *api.StreamWriter) error {
		lines := make(lineChan, monitorBuffer)
		sink := hclog.NewSinkAdapter(&hclog.LoggerOptions{
			Level: level, Output: lines, JSONFormat: asJSON, IncludeLocation: location, TimeFormat: logTimeFormat,
			TimeFn: func() time.Time { return time.Now().UTC() },
		})
		a.log.RegisterSink(sink)
		defer a.log.DeregisterSink(sink)
		if err := w.Start(); err != nil {
			return err
		}
		return copyLines(ctx, w, lines, plain)
	}}, nil
}

// localTarget refuses a log of another agent, which this build cannot reach.
func (a *Agent) localTarget(r *api.Request) error {
	node, server := r.Values.Get("node_id"), r.Values.Get("server_id")
	switch {
	case node != "" && server != "":
		return structs.Errorf(structs.Invalid, "Cannot target node and server simultaneously")
	case node != "" && (a.client == nil || a.client.Node().ID != node):
		return structs.Errorf(structs.NotFound, "Unknown node %q", node)
	case server != "" && server != "leader" && (a.server == nil || server != a.member().Name && server != a.server.ID()):
		return structs.Errorf(structs.Invalid, "unknown nomad server %s", server)
	}
	return nil
}

// lineChan is an io.Writer that drops what nobody reads in time.
type lineChan chan []byte

func (c lineChan) Write(p []byte) (int, error) {
	select {
	case c <- append([]byte(nil), p...):
	default:
	}
	return len(p), nil
}

// copyLines writes lines as frames, or plain, until ctx ends.
func copyLines(ctx context.Context, w *api.StreamWriter, lines <-chan []byte, plain bool) error {
	beat := time.NewTicker(api.HeartbeatInterval)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case line := <-lines:
			if plain {
				if _, err := w.Write(line); err != nil {
					return err
				}
				continue
			}
			if err := w.Frame(api.StreamFrame{Data: line, FileEvent: api.FileEventLog}); err != nil {
				return err
			}
		case <-beat.C:
			if plain {
				continue
			}
			if err := w.Frame(api.StreamFrame{}); err != nil {
				return err
			}
		}
	}
}
