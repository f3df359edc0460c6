package scheduler

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/nomadlite/nomadlite/structs"
)

// packingSeed is the first of the seeds of BenchmarkPacking. Nothing was tuned
// on them.
const packingSeed = 13000

// BenchmarkPacking compares how many nodes three ways to choose need for the
// same work, and how many they open when there is room: ours, a model of the
// contract's scheduler (a score of ceil(log2 n) sampled nodes by the
// exponential fit and job anti-affinity) and a model of its batch scheduler
// (two sampled nodes). Nodes are given over the lower bound by volume; what
// fits is counted by volume too (99.8 %). The last line, all, has the means of
// the four kinds of work of each seed. PACKING_SEEDS sets the number of seeds,
// 20 unless given, and PACKING_LIST a file that gets what each of them needs.
func BenchmarkPacking(b *testing.B) {
	seeds := 20
	if n, err := strconv.Atoi(os.Getenv("PACKING_SEEDS")); err == nil && n > 0 {
		seeds = n
	}
	all := newPacking("all", seeds)
	for _, big := range []bool{false, true} {
		for _, churn := range []bool{false, true} {
			name := map[bool]string{false: "small", true: "big"}[big] + "/" + map[bool]string{false: "fill", true: "churn"}[churn]
			var found *packing // measured once, whatever -benchtime says
			b.Run(name, func(b *testing.B) {
				if found == nil {
					found = comparePacking(b, name, seeds, big, churn)
					all.add(found)
				}
				found.report(b)
			})
		}
	}
	b.Run("all", all.report)
}

// packWays are the ways to choose that are compared.
var packWays = []string{"ours", "contract", "two"}

// packing is what a comparison found: nodes over the bound, by way and seed.
type packing struct {
	name           string
	needed, opened map[string][]float64
	parts          int // kinds of work that the numbers are the sum of
}

func newPacking(name string, seeds int) *packing {
	p := &packing{name: name, needed: map[string][]float64{}, opened: map[string][]float64{}}
	for _, way := range packWays {
		p.needed[way], p.opened[way] = make([]float64, seeds), make([]float64, seeds)
	}
	return p
}

// add takes another kind of work into the sum.
func (p *packing) add(q *packing) {
	for _, way := range packWays {
		for s := range q.needed[way] {
			p.needed[way][s] += q.needed[way][s]
			p.opened[way][s] += q.opened[way][s]
		}
	}
	p.parts += q.parts
}

func (p *packing) report(b *testing.B) {
	if p.parts == 0 {
		b.Skip("no kind of work was selected")
	}
	b.ReportMetric(0, "ns/op")
	needed := map[string]float64{}
	for _, way := range packWays {
		needed[way] = p.mean(p.needed[way])
		b.ReportMetric(needed[way], "needed-"+way)
		b.ReportMetric(p.mean(p.opened[way]), "opened-"+way)
	}
	b.ReportMetric(100*(1-needed["ours"]/needed["contract"]), "%-fewer-than-contract")
	b.ReportMetric(100*(1-needed["ours"]/needed["two"]), "%-fewer-than-two")
	worst, worse, most, much := math.Inf(-1), 0, 0.0, 0
	for s, ours := range p.needed["ours"] {
		over := ours/min(p.needed["contract"][s], p.needed["two"][s]) - 1
		worst = max(worst, over)
		if over > 0.01 {
			worse++
		}
		opened := p.opened["ours"][s] / float64(p.parts)
		if most = max(most, opened); opened > 1.2 {
			much++
		}
	}
	b.ReportMetric(100*worst, "%-worse-in-worst-seed")
	b.ReportMetric(float64(worse), "seeds-worse-by-1%")
	b.ReportMetric(most, "opened-most")
	b.ReportMetric(float64(much), "seeds-opening-over-1.2")
}

func (p *packing) mean(list []float64) float64 {
	sum := 0.0
	for _, x := range list {
		sum += x
	}
	return sum / float64(len(list)*p.parts)
}

func comparePacking(b *testing.B, name string, seeds int, big, churn bool) *packing {
	first := packingSeed
	if n, err := strconv.Atoi(os.Getenv("PACKING_FIRST")); err == nil {
		first = n // for those who tune: never the seeds that are reported
	}
	p := newPacking(name, seeds)
	p.parts = 1
	for s := range seeds {
		t := newTrace(uint64(first+s), big, churn)
		for _, way := range packWays {
			p.needed[way][s], p.opened[way][s] = t.needs(way), t.opens(way)
		}
		p.list(b, first+s, t.bound, s)
	}
	return p
}

// list adds what a seed needs to the file that was asked for.
func (p *packing) list(b *testing.B, seed, bound, s int) {
	path := os.Getenv("PACKING_LIST")
	if path == "" {
		return
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	fmt.Fprintf(f, "%s seed %d: bound %d nodes, over it ours %.3f contract %.3f two %.3f, opened %.3f\n", p.name, seed, bound,
		p.needed["ours"][s], p.needed["contract"][s], p.needed["two"][s], p.opened["ours"][s])
}

// trace is work that arrives, in order, and in part leaves again, and the
// fleet that it arrives at.
type trace struct {
	seed  uint64
	fleet []fleetNode
	nodes []*structs.Node // of the fleet, as many as were used
	jobs  []packJob
	bound int // nodes, by volume
	total float64
}

// packJob is count equal allocations that need nodes of at least a level.
// Before it arrives those of leave, by index, are gone.
type packJob struct {
	cpu, mem int64
	count    int
	level    int
	leave    []int
}

// fleetNode is a machine of the fleet; a few have what constrained work needs.
type fleetNode struct {
	Amount
	level int
}

// share is the part of the commonest machine that one allocation takes.
func (j *packJob) share() float64 { return max(float64(j.cpu)/64000, float64(j.mem)/262144) }

// levels is how many kinds of work and nodes there are.
const levels = 4

// newFleet draws machines of five shapes, with 2 to 8 GiB of memory a core.
// Half of them have level 0, a quarter 1, 15 % 2 and 10 % 3.
func newFleet(seed uint64, nodes int) []fleetNode {
	shapes := []Amount{{64000, 262144, 0}, {32000, 131072, 0}, {96000, 393216, 0}, {48000, 393216, 0}, {128000, 262144, 0}}
	weights, kinds := []float64{0.40, 0.25, 0.15, 0.10, 0.10}, []float64{0.50, 0.25, 0.15, 0.10}
	r := rand.New(rand.NewPCG(seed, 7))
	fleet := make([]fleetNode, nodes)
	for i := range fleet {
		fleet[i] = fleetNode{shapes[draw(r, weights)], draw(r, kinds)}
	}
	return fleet
}

// draw is an index, each with its weight.
func draw(r *rand.Rand, weights []float64) int {
	x := r.Float64()
	for i, w := range weights {
		if x -= w; x < 0 {
			return i
		}
	}
	return len(weights) - 1
}

func (f *fleetNode) node(i int) *structs.Node {
	n := testNode(fmt.Sprint("n", i))
	n.NodeResources.Cpu.CpuShares, n.NodeResources.Memory.MemoryMB, n.NodeResources.Disk.DiskMB = f.CPU, f.MemoryMB, 1<<40
	n.Meta["level"] = strconv.Itoa(f.level)
	n.Attributes = map[string]string{"kernel.name": "linux"}
	n.ComputeClass()
	return n
}

// newTrace draws work as performance.md 1 and 2.5 have it: sizes of jobs Pareto
// 0.8, cpu lognormal around half a core (s 1.1), memory a core lognormal around
// 3 GiB (s 0.9), 15 % constrained; with big, a tenth of the small jobs asks for
// a third to a whole of a node; with churn, jobs leave when 10,000 allocations
// run.
func newTrace(seed uint64, big, churn bool) *trace {
	r := rand.New(rand.NewPCG(seed, 1))
	t := &trace{seed: seed, fleet: newFleet(seed, 6000)}
	live, running, allocs := []int{}, 0, 20000
	if churn {
		allocs = 30000
	}
	for n := 0; n < allocs; {
		j := packJob{count: min(int(math.Pow(1-r.Float64(), -1/0.8)), 2000, allocs-n)}
		cpu := min(max(500*math.Exp(1.1*r.NormFloat64()), 50), 24000)
		mem := min(max(cpu/1000*3072*math.Exp(0.9*r.NormFloat64()), 64), 100000)
		if y := r.Float64(); y < 0.05 {
			j.level = 2
		} else if y < 0.15 {
			j.level = 1
		}
		if big && j.count < 8 && r.Float64() < 0.1 {
			cpu, mem, j.level = 20000+r.Float64()*44000, 65536+r.Float64()*180000, 0
		}
		j.cpu, j.mem = int64(cpu), int64(mem)
		for churn && len(live) > 0 && running+j.count > 10000 {
			k := r.IntN(len(live))
			j.leave = append(j.leave, live[k])
			running -= t.jobs[live[k]].count
			live = slices.Delete(live, k, k+1)
		}
		live = append(live, len(t.jobs))
		running += j.count
		n += j.count
		t.jobs = append(t.jobs, j)
		t.total += j.share() * float64(j.count)
	}
	t.bound = t.lowerBound()
	return t
}

// lowerBound is the number of nodes that hold the volume of what runs at once,
// on every level.
func (t *trace) lowerBound() int {
	var now, high, has [levels]Amount // of the work and nodes of a level and above
	add := func(j *packJob, sign int64) {
		for k := range j.level + 1 {
			now[k] = now[k].plus(Amount{CPU: sign * j.cpu * int64(j.count), MemoryMB: sign * j.mem * int64(j.count)})
			high[k] = Amount{CPU: max(high[k].CPU, now[k].CPU), MemoryMB: max(high[k].MemoryMB, now[k].MemoryMB)}
		}
	}
	for i := range t.jobs {
		for _, k := range t.jobs[i].leave {
			add(&t.jobs[k], -1)
		}
		add(&t.jobs[i], 1)
	}
	for n := range t.fleet {
		for k := range t.fleet[n].level + 1 {
			has[k] = has[k].plus(t.fleet[n].Amount)
		}
		enough := true
		for k := range has {
			enough = enough && has[k].CPU >= high[k].CPU && has[k].MemoryMB >= high[k].MemoryMB
		}
		if enough {
			return n + 1
		}
	}
	panic("the fleet is too small for the work")
}

// unplaced is the part of the volume that may stay unplaced.
const unplaced = 0.002

// needs is the least number of nodes on which the trace fits, over the bound,
// to a third of a percent.
func (t *trace) needs(way string) float64 {
	low, high := t.bound, t.bound*5/4
	for !t.fits(way, high) {
		low, high = high+1, high*5/4
	}
	for high-low > t.bound/300 {
		if mid := (low + high) / 2; t.fits(way, mid) {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return float64(high) / float64(t.bound)
}

func (t *trace) fits(way string, nodes int) bool {
	missed, _ := t.play(way, nodes, unplaced*t.total)
	return missed <= unplaced*t.total
}

// opens is how many of twice as many nodes as the bound are used at once, over
// the bound.
func (t *trace) opens(way string) float64 {
	_, used := t.play(way, 2*t.bound, t.total)
	return float64(used) / float64(t.bound)
}

// play runs the trace on a number of nodes and returns the volume that was not
// placed and the most nodes that were in use at the end of a job's placement.
// It stops when more than the patience was not placed.
func (t *trace) play(way string, nodes int, patience float64) (missed float64, used int) {
	p := newPacker(way, t, nodes)
	on := make([][]uint32, len(t.jobs))
	for i := range t.jobs {
		j := &t.jobs[i]
		for _, k := range j.leave {
			for _, num := range on[k] {
				p.change(num, Amount{CPU: t.jobs[k].cpu, MemoryMB: t.jobs[k].mem}, -1)
			}
			on[k] = nil
		}
		on[i] = p.place(j)
		missed += j.share() * float64(j.count-len(on[i]))
		if missed > patience {
			break
		}
		used = max(used, p.open)
	}
	return missed, used
}

// packer is a cluster and a way to choose among its nodes.
type packer struct {
	*benchWorld
	way   string
	fleet []fleetNode
	rand  *rand.Rand
	usage []NodeUsage
	open  int
	order []int
	at    int
	same  []int // allocations of the job at hand, by node
}

func newPacker(way string, t *trace, nodes int) *packer {
	p := &packer{benchWorld: &benchWorld{newWorld(), map[string]uint32{}}, way: way, fleet: t.fleet, rand: rand.New(rand.NewPCG(t.seed, 2)),
		usage: make([]NodeUsage, nodes), order: make([]int, nodes), same: make([]int, nodes)}
	for i := range nodes {
		if i == len(t.nodes) {
			t.nodes = append(t.nodes, t.fleet[i].node(i))
		}
		n := t.nodes[i]
		p.nodes = append(p.nodes, n)
		p.num[n.ID] = uint32(i)
		p.cluster.Set(uint32(i), NodeRow{Node: n})
		p.order[i] = i
	}
	return p
}

func (p *packer) change(num uint32, a Amount, by int) {
	u := &p.usage[num]
	was := u.Allocs
	u.CPU, u.MemoryMB, u.Allocs = u.CPU+int64(by)*a.CPU, u.MemoryMB+int64(by)*a.MemoryMB, u.Allocs+by
	p.cluster.Set(num, NodeRow{Node: p.nodes[num], Usage: *u})
	switch {
	case was == 0 && u.Allocs > 0:
		p.open++
	case was > 0 && u.Allocs == 0:
		p.open--
	}
}

// place returns the node of every allocation that found one.
func (p *packer) place(j *packJob) []uint32 {
	if p.way == "ours" {
		return p.placeOurs(j)
	}
	var on []uint32
	clear(p.same)
	p.rand.Shuffle(len(p.order), func(a, b int) { p.order[a], p.order[b] = p.order[b], p.order[a] })
	p.at = 0
	for range j.count {
		num, ok := p.sample(j)
		if !ok {
			break
		}
		p.same[num]++
		p.change(num, Amount{CPU: j.cpu, MemoryMB: j.mem}, 1)
		on = append(on, num)
	}
	return on
}

// placeOurs is the scheduler itself, with its default algorithm.
func (p *packer) placeOurs(j *packJob) []uint32 {
	job := testJob("bench", structs.JobTypeService, j.count)
	g := job.TaskGroups[0]
	g.Tasks[0].Resources.CPU, g.Tasks[0].Resources.MemoryMB = structs.Ptr(int(j.cpu)), structs.Ptr(int(j.mem))
	if j.level > 0 {
		job.Constraints = []*structs.Constraint{{LTarget: "${meta.level}", Operand: ">=", RTarget: strconv.Itoa(j.level)}}
	}
	p.jobs["bench"] = job
	r, err := Process(p, p.cluster, p.eval("bench", structs.EvalTriggerJobRegister), Options{Now: epoch, Seed: p.rand.Uint64()})
	if err != nil {
		panic(err)
	}
	var on []uint32
	for _, g := range r.Plan.Groups {
		for i := range g.Placements {
			p.change(g.Placements[i].Node, Amount{CPU: j.cpu, MemoryMB: j.mem}, 1)
			on = append(on, g.Placements[i].Node)
		}
	}
	return on
}

// sample models the contract: the next feasible nodes of a shuffled list, the
// best of them; up to three with a score of 0 or less are set aside.
func (p *packer) sample(j *packJob) (uint32, bool) {
	limit := max(2, int(math.Ceil(math.Log2(float64(len(p.order))))))
	if p.way == "two" {
		limit = 2
	}
	best, found, top, aside, seen := uint32(0), false, math.Inf(-1), 0, 0
	for range p.order {
		num := uint32(p.order[p.at])
		p.at = (p.at + 1) % len(p.order)
		free := p.cluster.free[num]
		if free.CPU < j.cpu || free.MemoryMB < j.mem || p.fleet[num].level < j.level {
			continue
		}
		view := NodeView{Total: p.cluster.total[num], Free: free}
		score := binpackScore(Amount{CPU: j.cpu, MemoryMB: j.mem}, &view)
		if c := p.same[num]; p.way == "contract" && c > 0 {
			score = (score - float64(c+1)/float64(j.count)) / 2
		}
		if score > top {
			best, found, top = num, true, score
		}
		if score <= 0 && aside < 3 {
			aside++
			continue
		}
		if seen++; seen == limit {
			break
		}
	}
	return best, found
}
