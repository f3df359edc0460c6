package command

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/nomadlite/nomadlite/api"
)

// eventsVerb follows the event stream.
func eventsVerb() *verb {
	var topics stringsFlag
	var from uint64
	var count int
	var asJSON, stubs, verbose bool
	return &verb{
		path: "events", max: 0,
		short: "Follow what changes in the cluster",
		long: "Follow what changes in the cluster, a line an event. Topics are Allocation, Deployment,\n" +
			"Evaluation, HostVolume, Job, Node, NodePool, Service and Variable; \"Job:web\" is one key.\n" +
			"With -index the stream begins at an earlier change; when that is no longer kept, or the\n" +
			"reader is too slow, the last line is a gap that names the oldest index that is.",
		flags: func(fs *flag.FlagSet) {
			fs.Var(&topics, "topic", "Only this `topic`, or topic:key; may be repeated.")
			fs.Uint64Var(&from, "index", 0, "Begin at this `index`.")
			fs.IntVar(&count, "count", 0, "End after this many events; 0 is never.")
			fs.BoolVar(&asJSON, "json", false, "Print events as JSON, one a line.")
			fs.BoolVar(&stubs, "stubs", false, "With -json: of jobs, nodes and allocations what lists show, not all of them.")
			fs.BoolVar(&verbose, "verbose", false, "Whole ids.")
		},
		run: func(c *cli, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			q := &api.QueryOptions{}
			if stubs || !asJSON {
				q.Params = map[string]string{"payload": "stub"}
			}
			stream, err := client.Events(c.ctx, topics, from, q)
			if err != nil {
				return exitf(1, "Error following events: %v", err)
			}
			defer stream.Close()
			for seen := 0; count == 0 || seen < count; {
				frame, err := stream.Next()
				switch {
				case c.ctx.Err() != nil:
					return nil
				case errors.Is(err, io.EOF):
					return exitf(1, "The agent ended the stream")
				case err != nil:
					return exitf(1, "Error following events: %v", err)
				}
				for i := range frame.Events {
					if err := c.printEvent(&frame.Events[i], asJSON, verbose); err != nil {
						return err
					}
					if seen++; seen == count {
						return nil
					}
				}
			}
			return nil
		},
	}
}

// printEvent prints an event as a line.
func (c *cli) printEvent(e *api.Event, asJSON, verbose bool) error {
	if asJSON {
		return json.NewEncoder(c.stdout).Encode(e)
	}
	if e.Topic == "Stream" {
		return exitf(1, "The stream has a gap: events before index %d are no longer kept; go on with -index %d", e.Index+1, e.Index+1)
	}
	key := e.Key
	if len(key) == 36 {
		key = shortID(key, verbose)
	}
	_, err := fmt.Fprintf(c.stdout, "%s  %d  %s  %s  %s  %s\n", c.now().Format(time.RFC3339), e.Index, e.Topic, e.Type, firstOf(e.Namespace, "-"), clean(key))
	return err
}
