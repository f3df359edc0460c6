package client

import (
	"context"
	"maps"
	"time"

	"github.com/nomadlite/nomadlite/structs"
)

// Pace of tries to make volumes that could not be made.
const (
	minVolumeRetry = 2 * time.Second
	maxVolumeRetry = time.Minute
)

// wantVolumes takes the servers' list of this node's dynamic volumes.
func (c *Client) wantVolumes(list []*structs.HostVolume) {
	select { // an older list that nobody took is worth nothing
	case <-c.volumesWanted:
	default:
	}
	c.volumesWanted <- list
}

// keepVolumes converges to the newest list.
func (c *Client) keepVolumes(ctx context.Context) error {
	var want []*structs.HostVolume
	retry := minVolumeRetry
	again := time.NewTimer(time.Hour)
	defer again.Stop()
	for {
		select {
		case want = <-c.volumesWanted:
			retry = minVolumeRetry
		case <-again.C:
		case <-ctx.Done():
			return nil
		}
		changed, err := c.volumes.Sync(ctx, want)
		if changed {
			c.showVolumes()
		}
		pause := time.Hour
		if err != nil && ctx.Err() == nil {
			c.log.Error("cannot make the node's host volumes what they shall be; trying again", "error", err)
			pause = retry
			retry = min(2*retry, maxVolumeRetry)
		}
		again.Reset(pause)
	}
}

// showVolumes takes the dynamic volumes into the node, and tells the servers.
func (c *Client) showVolumes() {
	c.mu.Lock()
	node := c.node.Copy()
	node.HostVolumes = maps.Clone(c.cfg.Node.HostVolumes)
	if node.HostVolumes == nil {
		node.HostVolumes = map[string]*structs.HostVolumeInfo{}
	}
	maps.Copy(node.HostVolumes, c.volumes.Volumes())
	c.node = node
	c.mu.Unlock()
	select {
	case c.nodeChanged <- struct{}{}:
	default:
	}
}
