package agent

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// This file paces Go's garbage collector. A small heap under load is collected
// many times a second, each time for a few megabytes; with room of some 256 MiB the
// same work costs a quarter less CPU. An agent that has little to do keeps the
// usual pace, and its memory small.

const (
	usualPercent = 100
	// busyCycle is the time between two collections under which there is more room
	// for the next, calmCycle the one from which there is no more than usual.
	busyCycle = 500 * time.Millisecond
	calmCycle = 5 * time.Second
	// spareHeap bounds the room: a large heap has enough by the usual pace.
	spareHeap = 256 << 20
)

// nextPercent is the pace (GOGC) after a collection: live are the bytes that it
// left, since the time since the one before.
func nextPercent(percent int, since time.Duration, live uint64) int {
	switch {
	case since < busyCycle:
		percent *= 2
	case since >= calmCycle:
		percent = usualPercent
	}
	most := spareHeap * 100 / max(live, 1)
	return max(usualPercent, min(percent, int(most)))
}

// garbagePacer sets the pace after each collection, as long as it is reachable.
type garbagePacer struct {
	percent int
	last    time.Time
	live    []metrics.Sample
}

// paceGarbage paces the collector of this process, unless GOGC is set.
func paceGarbage() {
	if os.Getenv("GOGC") != "" {
		return
	}
	p := &garbagePacer{percent: usualPercent, last: time.Now(), live: []metrics.Sample{{Name: "/gc/heap/live:bytes"}}}
	p.arm()
}

// arm has the next collection call collected: it finds an object that nothing
// refers to.
func (p *garbagePacer) arm() {
	runtime.AddCleanup(new([32]byte), (*garbagePacer).collected, p)
}

func (p *garbagePacer) collected() {
	now := time.Now()
	metrics.Read(p.live)
	next := nextPercent(p.percent, now.Sub(p.last), p.live[0].Value.Uint64())
	if next != p.percent {
		debug.SetGCPercent(next)
	}
	p.percent, p.last = next, now
	p.arm()
}
