package agent

import (
	"bytes"
	"io"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/command/agent/config"
)

// logTimeFormat is UTC with milliseconds (reference agent-config.md 7).
const logTimeFormat = "2006-01-02T15:04:05.000Z07:00"

// newLogger makes the agent's root logger. Sinks can be added to it, each with
// a level of its own: the monitor endpoint does so.
func newLogger(cfg *config.Config, w io.Writer) hclog.InterceptLogger {
	if !cfg.LogJSON {
		w = &indentWriter{w: w, fresh: true}
	}
	return hclog.NewInterceptLogger(&hclog.LoggerOptions{
		Level:           hclog.LevelFromString(strings.ToUpper(cfg.LogLevel)),
		Output:          w,
		JSONFormat:      cfg.LogJSON,
		IncludeLocation: cfg.LogIncludeLocation,
		TimeFormat:      logTimeFormat,
		TimeFn:          func() time.Time { return time.Now().UTC() },
	})
}

// indentWriter puts four spaces before each line, as operators know it. The
// logger serialises its writes.
type indentWriter struct {
	w     io.Writer
	fresh bool // the next byte begins a line
	buf   bytes.Buffer
}

func (i *indentWriter) Write(p []byte) (int, error) {
	i.buf.Reset()
	for line := range bytes.Lines(p) {
		if i.fresh {
			i.buf.WriteString("    ")
		}
		i.buf.Write(line)
		i.fresh = line[len(line)-1] == '\n'
	}
	if _, err := i.w.Write(i.buf.Bytes()); err != nil {
		return 0, err
	}
	return len(p), nil
}
