// Command bench measures the built binary as a user meets it: through its
// command line and HTTP API, with every process that it starts accounted for.
// It prints a line a measure: name, value and unit, separated by tabs.
//
//	go run ./bench -bin ../bin/nomadlite -set latency|density|idle|place|loops|drivers|nodes
//
// It needs Linux; memory is read from /proc, CPU time from a cgroup of its own
// where one can be made (root), else from /proc.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"sort"
	"time"
)

// set is one named group of measures.
type set struct {
	name string
	run  func(*bench) error
}

var sets = []set{{"idle", idle}, {"latency", latency}, {"density", density}, {"failover", failover}, {"place", place}, {"loops", loops}, {"drivers", drivers}, {"nodes", nodes}}

// bench is one run: the binary under test and where results go.
type bench struct {
	bin     string
	samples int
	tasks   int
	full    bool
	place   placeSize
	loops   loopsSize
	settle  time.Duration
	out     io.Writer
}

func main() {
	b := &bench{out: os.Stdout}
	var only string
	flag.StringVar(&b.bin, "bin", "bin/nomadlite", "binary under test")
	flag.StringVar(&only, "set", "", "one set: idle, latency, density, failover, place, loops, drivers or nodes; all when empty")
	flag.IntVar(&b.samples, "n", 20, "samples of each repeated measure")
	flag.IntVar(&b.tasks, "tasks", 500, "tasks of the density set")
	flag.BoolVar(&b.full, "full", false, "give each task of latency and density a template, and a service with a check every 10 s")
	flag.DurationVar(&b.settle, "settle", 10*time.Second, "rest before memory and idle CPU are read")
	b.place.flags()
	b.loops.flags()
	flag.Parse()
	known := false
	for _, s := range sets {
		if only != "" && only != s.name {
			continue
		}
		known = true
		if err := s.run(b); err != nil {
			fmt.Fprintf(os.Stderr, "bench: %s: %v\n", s.name, err)
			os.Exit(1)
		}
	}
	if !known {
		fmt.Fprintf(os.Stderr, "bench: no set %q; the sets are idle, latency, density, failover, place, loops, drivers and nodes\n", only)
		os.Exit(2)
	}
}

// line prints one measure.
func (b *bench) line(name string, value float64, unit string) {
	fmt.Fprintf(b.out, "%s\t%.4g\t%s\n", name, value, unit)
}

// quantiles prints the median and the 95th percentile of samples.
func (b *bench) quantiles(name string, samples []float64, unit string) {
	b.line(name+" p50", quantile(samples, 0.50), unit)
	b.line(name+" p95", quantile(samples, 0.95), unit)
}

// quantile picks by nearest rank.
func quantile(samples []float64, q float64) float64 {
	if len(samples) == 0 {
		return 0
	}
	s := append([]float64(nil), samples...)
	sort.Float64s(s)
	return s[min(int(q*float64(len(s))), len(s)-1)]
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
