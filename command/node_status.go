package command

import (
	"flag"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// nodeStatus is the options of `node status`.
type nodeStatus struct {
	format
	pageFlags
	self, stats, allocs, short, verbose, osColumn, quiet bool
}

// nodeStatusVerb lists nodes, or shows one.
func nodeStatusVerb() *verb {
	var o nodeStatus
	return &verb{
		path: "node status", args: "[<node>]", max: 1,
		short: "Show the nodes, or one of them",
		flags: func(fs *flag.FlagSet) {
			o.format.define(fs)
			o.pageFlags.define(fs)
			fs.BoolVar(&o.self, "self", false, "The node of the agent that answers.")
			fs.BoolVar(&o.stats, "stats", false, "What the host and the allocations use.")
			fs.BoolVar(&o.allocs, "allocs", false, "How many allocations run on each node.")
			fs.BoolVar(&o.short, "short", false, "Only the head and the allocations.")
			fs.BoolVar(&o.verbose, "verbose", false, "Whole ids, addresses, attributes.")
			fs.BoolVar(&o.osColumn, "os", false, "The operating system of each node.")
			fs.BoolVar(&o.quiet, "quiet", false, "Only ids.")
		},
		run: o.run,
	}
}

func (o *nodeStatus) run(c *cli, args []string) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	switch {
	case o.self:
		id, err := selfNode(c, client)
		if err != nil {
			return err
		}
		return o.one(c, client, id)
	case len(args) == 1:
		id, err := resolveNode(c.ctx, c, client, args[0])
		if err != nil {
			return err
		}
		return o.one(c, client, id)
	}
	return o.list(c, client)
}

// selfNode is the id of the answering agent's node.
func selfNode(c *cli, client *api.Client) (string, error) {
	self, err := client.Agent().Self(c.ctx)
	if err != nil {
		return "", exitf(1, "Error querying local agent info: %v", err)
	}
	if id := self.Stats["client"]["node_id"]; id != "" {
		return id, nil
	}
	return "", exitf(1, "The agent is not a client: it has no node. Name a node instead of -self.")
}

func (o *nodeStatus) list(c *cli, client *api.Client) error {
	q := &api.QueryOptions{PerPage: o.perPage, NextToken: o.token, Filter: o.filter, Params: map[string]string{"os": strconv.FormatBool(o.osColumn)}}
	nodes, meta, err := client.Nodes().List(c.ctx, q)
	if err != nil {
		return exitf(1, "Error querying node status: %v", err)
	}
	if o.asked() {
		return o.print(c.stdout, nodes)
	}
	if o.quiet {
		for _, n := range nodes {
			fmt.Fprintln(c.stdout, shortID(n.ID, o.verbose))
		}
		return nil
	}
	if len(nodes) == 0 {
		fmt.Fprintln(c.stdout, "No nodes registered")
		return nil
	}
	rows := nodeRows(nodes, o.verbose)
	if o.osColumn {
		addColumn(rows, "OS", nodes, func(n *structs.NodeListStub) string { return n.Attributes["os.name"] })
	}
	if o.allocs {
		rows[0] = append(rows[0], "Running Allocs")
		for i, n := range nodes {
			running, err := runningAllocs(c, client, n.ID)
			if err != nil {
				return err
			}
			rows[i+1] = append(rows[i+1], strconv.Itoa(len(running)))
		}
	}
	printTable(c.stdout, rows)
	o.more(c, meta)
	return nil
}

func addColumn(rows [][]string, name string, nodes []*structs.NodeListStub, cell func(*structs.NodeListStub) string) {
	rows[0] = append(rows[0], name)
	for i, n := range nodes {
		rows[i+1] = append(rows[i+1], cell(n))
	}
}

// nodeRows is the table of nodes.
func nodeRows(nodes []*structs.NodeListStub, verbose bool) [][]string {
	head := []string{"ID", "Node Pool", "DC", "Name", "Class"}
	if verbose {
		head = append(head, "Address", "Version")
	}
	rows := [][]string{append(head, "Drain", "Eligibility", "Status")}
	for _, n := range nodes {
		row := []string{shortID(n.ID, verbose), n.NodePool, n.Datacenter, n.Name, orText(n.NodeClass)}
		if verbose {
			row = append(row, n.Address, n.Version)
		}
		rows = append(rows, append(row, strconv.FormatBool(n.Drain), n.SchedulingEligibility, n.Status))
	}
	return rows
}

func runningAllocs(c *cli, client *api.Client, node string) ([]*structs.Allocation, error) {
	all, _, err := client.Nodes().Allocations(c.ctx, node, nil)
	if err != nil {
		return nil, exitf(1, "Error querying node allocations: %v", err)
	}
	var out []*structs.Allocation
	for _, a := range all {
		if a.ClientStatus == structs.AllocClientStatusRunning {
			out = append(out, a)
		}
	}
	return out, nil
}

func (o *nodeStatus) one(c *cli, client *api.Client, id string) error {
	node, _, err := client.Nodes().Get(c.ctx, id, nil)
	if err != nil {
		return exitf(1, "Error querying node info: %v", err)
	}
	if o.asked() {
		return o.print(c.stdout, node)
	}
	if o.quiet {
		fmt.Fprintln(c.stdout, shortID(node.ID, o.verbose))
		return nil
	}
	allocs, _, err := client.Nodes().Allocations(c.ctx, id, nil)
	if err != nil {
		return exitf(1, "Error querying node allocations: %v", err)
	}
	o.head(c, node)
	if !o.short {
		o.volumes(c, node)
		o.events(c, node)
		o.allocated(c, node, allocs)
		o.host(c, client, node)
	}
	c.title("Allocations")
	if len(allocs) == 0 {
		fmt.Fprintln(c.stdout, "No allocations placed")
	} else {
		sort.Slice(allocs, func(i, j int) bool { return allocs[i].CreateIndex > allocs[j].CreateIndex })
		printTable(c.stdout, o.nodeAllocRows(c, allocs))
	}
	if o.verbose {
		o.attributes(c, "Attributes", node.Attributes)
		o.attributes(c, "Meta", node.Meta)
	}
	return nil
}

func (o *nodeStatus) head(c *cli, n *structs.Node) {
	var drivers []string
	for _, name := range sortedKeys(n.Drivers) {
		switch d := n.Drivers[name]; {
		case d.Detected && d.Healthy:
			drivers = append(drivers, name)
		case d.Detected:
			drivers = append(drivers, name+" (unhealthy: "+d.HealthDescription+")")
		}
	}
	printPairs(c.stdout, []pair{
		{"ID", n.ID}, {"Name", n.Name}, {"Node Pool", n.NodePool}, {"Class", orText(n.NodeClass)}, {"DC", n.Datacenter},
		{"Drain", drainText(n)}, {"Eligibility", n.SchedulingEligibility}, {"Status", n.Status},
		{"Host Volumes", orNone(sortedKeys(n.HostVolumes))}, {"Host Networks", orNone(sortedKeys(n.HostNetworks))},
		{"Driver Status", strings.Join(drivers, ",")},
	})
}

// drainText says whether a node drains, and until when.
func drainText(n *structs.Node) string {
	switch s := n.DrainStrategy; {
	case s == nil:
		return "false"
	case s.Deadline < 0:
		return "true; force drain"
	case s.Deadline == 0:
		return "true; no deadline"
	default:
		return "true; deadline " + s.ForceDeadline.Format(time.RFC3339)
	}
}

func (o *nodeStatus) volumes(c *cli, n *structs.Node) {
	if len(n.HostVolumes) == 0 || !o.verbose {
		return
	}
	c.title("Host Volumes")
	rows := [][]string{{"Name", "ReadOnly", "Source"}}
	for _, name := range sortedKeys(n.HostVolumes) {
		v := n.HostVolumes[name]
		rows = append(rows, []string{name, strconv.FormatBool(v.ReadOnly), v.Path})
	}
	printTable(c.stdout, rows)
}

func (o *nodeStatus) events(c *cli, n *structs.Node) {
	c.title("Node Events")
	rows := [][]string{{"Time", "Subsystem", "Message"}}
	for i := len(n.Events) - 1; i >= 0; i-- {
		e := n.Events[i]
		rows = append(rows, []string{e.Timestamp.In(c.now().Location()).Format(time.RFC3339), e.Subsystem, e.Message})
	}
	printTable(c.stdout, rows)
}

func (o *nodeStatus) allocated(c *cli, n *structs.Node, allocs []*structs.Allocation) {
	if n.NodeResources == nil {
		return
	}
	var cpu, memory, disk int64
	for _, a := range allocs {
		if a.Terminal() || a.AllocatedResources == nil {
			continue
		}
		for _, t := range a.AllocatedResources.Tasks {
			cpu += t.Cpu.CpuShares
			memory += t.Memory.MemoryMB
		}
		disk += a.AllocatedResources.Shared.DiskMB
	}
	total := *n.NodeResources
	if r := n.ReservedResources; r != nil {
		total.Cpu.CpuShares -= r.Cpu.CpuShares
		total.Memory.MemoryMB -= r.Memory.MemoryMB
		total.Disk.DiskMB -= r.Disk.DiskMB
	}
	c.title("Allocated Resources")
	printTable(c.stdout, [][]string{{"CPU", "Memory", "Disk"}, {
		fmt.Sprintf("%d/%d MHz", cpu, total.Cpu.CpuShares),
		bytesText(uint64(memory)<<20) + "/" + bytesText(uint64(max(total.Memory.MemoryMB, 0))<<20),
		bytesText(uint64(disk)<<20) + "/" + bytesText(uint64(max(total.Disk.DiskMB, 0))<<20),
	}})
}

// host shows what the machine uses, read from the node itself.
func (o *nodeStatus) host(c *cli, client *api.Client, n *structs.Node) {
	if n.Status == structs.NodeStatusDown {
		return
	}
	stats, err := client.Nodes().Stats(c.ctx, n.ID, nil)
	if err != nil {
		if o.stats {
			fmt.Fprintf(c.stderr, "error fetching node stats: %v\n", err)
		}
		return
	}
	c.title("Host Resource Utilization")
	row := []string{fmt.Sprintf("%.0f MHz", stats.CPUTicksConsumed), "", ""}
	if n.NodeResources != nil {
		row[0] = fmt.Sprintf("%.0f/%d MHz", stats.CPUTicksConsumed, n.NodeResources.Cpu.CpuShares)
	}
	if m := stats.Memory; m != nil {
		row[1] = bytesText(m.Used) + "/" + bytesText(m.Total)
	}
	if d := stats.AllocDirStats; d != nil {
		row[2] = bytesText(d.Used) + "/" + bytesText(d.Size)
	}
	printTable(c.stdout, [][]string{{"CPU", "Memory", "Disk"}, row})
	c.deviceUse("Device Resource Utilization", stats.DeviceStats)
}

// deviceUse prints the one figure of each device that says most.
func (c *cli) deviceUse(title string, groups []*api.DeviceGroupStats) {
	rows := [][]string{{"Device", "Usage"}}
	for _, g := range groups {
		for _, id := range sortedKeys(g.InstanceStats) {
			if s := g.InstanceStats[id]; s != nil {
				rows = append(rows, []string{g.Vendor + "/" + g.Type + "/" + g.Name + "[" + id + "]", s.Summary.Text()})
			}
		}
	}
	if len(rows) > 1 {
		c.title(title)
		printTable(c.stdout, rows)
	}
}

func (o *nodeStatus) nodeAllocRows(c *cli, allocs []*structs.Allocation) [][]string {
	rows := [][]string{{"ID", "Job ID", "Task Group", "Version", "Desired", "Status", "Created", "Modified"}}
	for _, a := range allocs {
		version := ""
		if a.Job != nil {
			version = strconv.FormatUint(a.Job.Version, 10)
		}
		rows = append(rows, []string{
			shortID(a.ID, o.verbose), a.JobID, a.TaskGroup, version, a.DesiredStatus, a.ClientStatus,
			c.timestamp(nanos(a.CreateTime), o.verbose), c.timestamp(nanos(a.ModifyTime), o.verbose),
		})
	}
	return rows
}

func (o *nodeStatus) attributes(c *cli, title string, m map[string]string) {
	c.title(title)
	var pairs []pair
	for _, k := range sortedKeys(m) {
		pairs = append(pairs, pair{k, m[k]})
	}
	printPairs(c.stdout, pairs)
}
