package command

import (
	"flag"
	"fmt"
	"strings"
	"time"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// defaultDrainDeadline is how long a drain may take when nothing is said.
const defaultDrainDeadline = time.Hour

// nodeDrain is the options of `node drain`.
type nodeDrain struct {
	enable, disable, detach, monitor, force bool
	noDeadline, ignoreSystem, ineligible    bool
	self, yes                               bool
	deadline                                time.Duration
	message                                 string
	meta                                    stringsFlag
}

// nodeDrainVerb moves the work off a node, or ends that.
func nodeDrainVerb() *verb {
	o := &nodeDrain{}
	return &verb{
		path: "node drain", args: "<node>", max: 1,
		short: "Move the work off a node",
		long: "Move the work off a node. Services leave at the pace of their migrate block, batch\n" +
			"work when it has ended or at the deadline, system jobs last. The node takes no new\n" +
			"work then and later, until -disable or 'node eligibility -enable'.",
		flags: o.define,
		run:   o.run,
	}
}

func (o *nodeDrain) define(fs *flag.FlagSet) {
	fs.BoolVar(&o.enable, "enable", false, "Start a drain, or change the one that goes on.")
	fs.BoolVar(&o.disable, "disable", false, "End a drain. The node takes new work again.")
	fs.DurationVar(&o.deadline, "deadline", defaultDrainDeadline, "After this `time` whatever is left is moved at once.")
	fs.BoolVar(&o.noDeadline, "no-deadline", false, "Wait for batch work as long as it takes.")
	fs.BoolVar(&o.force, "force", false, "Move everything at once.")
	fs.BoolVar(&o.ignoreSystem, "ignore-system", false, "Leave the allocations of system jobs.")
	fs.BoolVar(&o.ineligible, "keep-ineligible", false, "With -disable: the node still takes no new work.")
	fs.BoolVar(&o.monitor, "monitor", false, "Follow a drain that goes on; change nothing.")
	fs.BoolVar(&o.detach, "detach", false, "Do not follow the drain.")
	fs.BoolVar(&o.self, "self", false, "The node of the agent that answers.")
	fs.BoolVar(&o.yes, "yes", false, "Do not ask.")
	fs.StringVar(&o.message, "m", "", "A `message` to keep with the drain.")
	fs.Var(&o.meta, "meta", "A `key=value` to keep with the drain; may be repeated.")
}

// check says what does not fit together.
func (o *nodeDrain) check(args []string) error {
	asked, deadlines := 0, 0
	for _, set := range []bool{o.enable, o.disable, o.monitor && !o.enable && !o.disable} {
		if set {
			asked++
		}
	}
	for _, set := range []bool{o.force, o.noDeadline, o.deadline != defaultDrainDeadline} {
		if set {
			deadlines++
		}
	}
	switch {
	case asked != 1:
		return exitf(1, "Either the '-enable' or '-disable' flag must be set, unless using '-monitor'")
	case deadlines > 1:
		return exitf(1, "-force, -no-deadline and -deadline exclude each other")
	case o.deadline <= 0:
		return exitf(1, "A drain's -deadline must be positive, got %v; -force moves everything at once", o.deadline)
	case o.disable && (deadlines > 0 || o.ignoreSystem):
		return exitf(1, "-disable can't be used with flags configuring drain strategy")
	case o.ineligible && !o.disable:
		return exitf(1, "-keep-ineligible may only be used with '-disable'")
	case o.self == (len(args) == 1):
		return exitf(1, "Name one node, or pass -self")
	}
	return nil
}

// request is what the servers are asked for.
func (o *nodeDrain) request(id string) (*api.NodeDrainRequest, error) {
	req := &api.NodeDrainRequest{NodeID: id, MarkEligible: o.disable && !o.ineligible}
	if o.enable {
		req.DrainSpec = &structs.DrainSpec{Deadline: o.deadline, IgnoreSystemJobs: o.ignoreSystem}
		switch {
		case o.force:
			req.DrainSpec.Deadline = -1
		case o.noDeadline:
			req.DrainSpec.Deadline = 0
		}
	}
	if o.message == "" && len(o.meta) == 0 {
		return req, nil
	}
	req.Meta = map[string]string{}
	for _, kv := range o.meta {
		key, value, ok := strings.Cut(kv, "=")
		if !ok || key == "" {
			return nil, exitf(1, "-meta must be of the form key=value, got %q", kv)
		}
		req.Meta[key] = value
	}
	if o.message != "" {
		req.Meta["message"] = o.message
	}
	return req, nil
}

func (o *nodeDrain) run(c *cli, args []string) error {
	if err := o.check(args); err != nil {
		return err
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	id, exact, err := pickNode(c, client, args)
	if err != nil {
		return err
	}
	if !o.enable && !o.disable {
		return followDrain(c, client, id)
	}
	req, err := o.request(id)
	if err != nil {
		return err
	}
	if !exact && !o.yes {
		verb := map[bool]string{true: "enable", false: "disable"}[o.enable]
		ok, err := c.confirm(fmt.Sprintf("Are you sure you want to %s drain mode for node %q?", verb, id), "Canceling drain toggle")
		if err != nil || !ok {
			return err
		}
	}
	if _, _, err := client.Nodes().Drain(c.ctx, req, nil); err != nil {
		return exitf(1, "Error updating drain specification: %v", err)
	}
	if o.disable {
		fmt.Fprintf(c.stdout, "Node %q drain strategy unset\n", id)
		return nil
	}
	fmt.Fprintf(c.stdout, "Node %q drain strategy set\n", id)
	if o.detach {
		return nil
	}
	return followDrain(c, client, id)
}

// pickNode finds the node that the arguments name, or the agent's own without
// one; exact says that nothing was left to guess.
func pickNode(c *cli, client *api.Client, args []string) (id string, exact bool, err error) {
	if len(args) == 0 {
		id, err = selfNode(c, client)
		return id, true, err
	}
	id, err = resolveNode(c.ctx, c, client, args[0])
	return id, id == args[0], err
}

// drainMonitor prints what becomes of the allocations of a draining node.
type drainMonitor struct {
	c    *cli
	seen map[string]*structs.Allocation
}

// drainWait bounds one blocking query of a drain's monitor.
const drainWait = time.Second

// followDrain prints a drain's progress until it has ended.
func followDrain(c *cli, client *api.Client, id string) error {
	m := &drainMonitor{c: c, seen: map[string]*structs.Allocation{}}
	began := false
	var index uint64
	for {
		node, _, err := client.Nodes().Get(c.ctx, id, nil)
		if err != nil {
			return m.stopped(id, "node", err)
		}
		if node.DrainStrategy != nil && !began {
			m.say("Ctrl-C to stop monitoring: will not cancel the node drain")
		}
		began = began || node.DrainStrategy != nil
		allocs, meta, err := client.Nodes().Allocations(c.ctx, id, &api.QueryOptions{WaitIndex: index, WaitTime: drainWait})
		if err != nil {
			return m.stopped(id, "node allocations", err)
		}
		index = meta.LastIndex
		for _, a := range allocs {
			m.see(a)
		}
		if node.DrainStrategy == nil {
			return m.finish(node, began)
		}
	}
}

func (m *drainMonitor) say(format string, args ...any) {
	fmt.Fprintf(m.c.stdout, "%s: %s\n", m.c.now().Format(time.RFC3339), fmt.Sprintf(format, args...))
}

func (m *drainMonitor) stopped(id, what string, err error) error {
	if m.c.ctx.Err() != nil {
		return exitf(1, "Stopped monitoring; the drain goes on. See: nomadlite node drain -monitor %s", id)
	}
	return exitf(1, "Error monitoring %s: %v", what, err)
}

// see prints what changed in an allocation.
func (m *drainMonitor) see(a *structs.Allocation) {
	old := m.seen[a.ID]
	m.seen[a.ID] = a
	if old == nil {
		if a.ClientTerminal() {
			return
		}
		old = &structs.Allocation{ClientStatus: a.ClientStatus}
	}
	if structs.Val(a.DesiredTransition.Migrate) && !structs.Val(old.DesiredTransition.Migrate) {
		m.say("Alloc %q marked for migration", a.ID)
	}
	if a.ServerTerminal() && !old.ServerTerminal() {
		m.say("Alloc %q draining", a.ID)
	}
	if a.ClientStatus != old.ClientStatus {
		m.say("Alloc %q status %s -> %s", a.ID, old.ClientStatus, a.ClientStatus)
	}
}

// finish prints how the drain ended.
func (m *drainMonitor) finish(node *structs.Node, began bool) error {
	switch {
	case node.LastDrain == nil:
		m.say("No drain strategy set for node %s", node.ID)
		return nil
	case node.LastDrain.Status == "canceled":
		m.say("Drain canceled for node %s", node.ID)
		if began {
			return exitCode(1)
		}
		return nil
	}
	m.say("Drain complete for node %s", node.ID)
	for _, a := range m.seen {
		if !a.ClientTerminal() && a.Job != nil && a.Job.Type != structs.JobTypeSystem && a.Job.Type != structs.JobTypeSysBatch {
			return nil // placed since then
		}
	}
	m.say("All allocations on node %q have stopped", node.ID)
	return nil
}
