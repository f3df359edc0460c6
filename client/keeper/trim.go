package keeper

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Limits of the logs of plugins and of the keeper. Their writers append for as
// long as they live, so a file cannot be put aside: its end is copied to a
// second file and it begins anew.
const (
	maxLog  = 10 << 20 // bytes of a log and of its second file
	logTick = time.Minute
)

// tendLogs bounds the logs of a folder until ctx ends.
func tendLogs(ctx context.Context, dir string, log hclog.Logger) {
	tick := time.NewTicker(logTick)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		paths, err := filepath.Glob(filepath.Join(dir, "*.log"))
		if err != nil {
			log.Error("cannot look for logs", "error", err)
		}
		for _, path := range paths {
			if err := trimLog(path, maxLog); err != nil {
				log.Warn("cannot trim a log", "path", path, "error", err)
			}
		}
	}
}

// trimLog makes a log that is longer than limit begin anew, and keeps its last
// limit bytes beside it. What is written meanwhile may be lost.
func trimLog(path string, limit int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() <= limit {
		return err
	}
	kept, err := os.OpenFile(path+".1", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer kept.Close()
	if _, err := io.Copy(kept, io.NewSectionReader(f, info.Size()-limit, limit)); err != nil {
		return err
	}
	return f.Truncate(0)
}
