package nomadlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nomadlite/nomadlite/wholefile"
)

// This file remembers which cluster a server is in. The state says so, but only
// once the log is applied, which a server that has lost its peers never does;
// until then it might be taken for a new one by another cluster.

const (
	clusterFile = "cluster-id"
	// clusterLook is how often the state is looked at; a restored one brings
	// its own id.
	clusterLook = 500 * time.Millisecond
)

// clusterOf reads the id that a data directory remembers, "" for none.
func clusterOf(cfg *Config) (string, error) {
	if !cfg.remembersCluster() {
		return "", nil
	}
	b, err := os.ReadFile(filepath.Join(cfg.DataDir, clusterFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("cannot read the cluster's id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// remembersCluster reports whether the state outlives the process.
func (c *Config) remembersCluster() bool { return c.DataDir != "" && !c.Dev }

// keepClusterID writes the id whenever the state has another, until ctx ends.
func (s *Server) keepClusterID(ctx context.Context) error {
	written := s.wasCluster
	for s.cfg.remembersCluster() && pause(ctx, clusterLook) {
		id := s.store.Snapshot().ClusterID()
		if id == "" || id == written {
			continue
		}
		if err := wholefile.Write(filepath.Join(s.cfg.DataDir, clusterFile), []byte(id+"\n"), 0o600); err != nil {
			return fmt.Errorf("cannot remember the cluster's id: %w", err)
		}
		written = id
	}
	<-ctx.Done()
	return nil
}
