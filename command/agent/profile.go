package agent

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
	"strconv"
	"strings"
	"time"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// Limits of a profile over time.
const (
	defaultProfileSeconds = 1
	maxProfileSeconds     = 300
)

// profile answers with a profile of this process: cmdline, profile (CPU) and
// trace run for `seconds`, other names are those of runtime/pprof. While ACLs
// are off it needs enable_debug.
func (a *Agent) profile(ctx context.Context, r *api.Request) (*api.Response, error) {
	if !a.config().EnableDebug {
		return nil, structs.Errorf(structs.Denied, "Permission denied: profiles need enable_debug = true in the agent's configuration")
	}
	if err := a.localTarget(r); err != nil {
		return nil, err
	}
	seconds, ok, err := r.Uint("seconds")
	if err != nil {
		return nil, err
	}
	if !ok {
		seconds = defaultProfileSeconds
	}
	if seconds > maxProfileSeconds {
		return nil, structs.Errorf(structs.Invalid, "cannot profile for %d seconds: at most %d", seconds, maxProfileSeconds)
	}
	body := &bytes.Buffer{}
	if err := writeProfile(ctx, body, r.Param("profile"), time.Duration(seconds)*time.Second, r.Values.Get("debug"), r.Values.Get("gc") == "1"); err != nil {
		return nil, err
	}
	return &api.Response{Stream: func(_ context.Context, w *api.StreamWriter) error {
		_, err := w.Write(body.Bytes())
		return err
	}}, nil
}

func writeProfile(ctx context.Context, body *bytes.Buffer, name string, d time.Duration, debug string, gc bool) error {
	wait := func() {
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
	}
	switch name {
	case "cmdline":
		fmt.Fprint(body, strings.Join(os.Args, "\x00"))
		return nil
	case "profile":
		if err := pprof.StartCPUProfile(body); err != nil {
			return structs.Errorf(structs.Conflict, "cannot profile: %v", err)
		}
		wait()
		pprof.StopCPUProfile()
		return nil
	case "trace":
		if err := trace.Start(body); err != nil {
			return structs.Errorf(structs.Conflict, "cannot trace: %v", err)
		}
		wait()
		trace.Stop()
		return nil
	}
	p := pprof.Lookup(name)
	if p == nil {
		return structs.Errorf(structs.NotFound, "Pprof profile not found profile: %s", name)
	}
	if gc && name == "heap" {
		runtime.GC()
	}
	level, _ := strconv.Atoi(debug)
	return p.WriteTo(body, level)
}
