package periodic

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// matches reports whether a wall time is one of a daily or half-hourly
// expression: the published rule in its simplest form.
func matches(spec string, t time.Time) bool {
	f := strings.Fields(spec)
	ok := func(field string, v int) bool {
		if field == "*" {
			return true
		}
		if step, given := strings.CutPrefix(field, "*/"); given {
			n, _ := strconv.Atoi(step)
			return v%n == 0
		}
		n, _ := strconv.Atoi(field)
		return v == n
	}
	return ok(f[0], t.Minute()) && ok(f[1], t.Hour()) && t.Second() == 0
}

// TestClockChanges_B42 walks through changes of the clocks in several zones
// and compares with every minute that there was: wall times that do not exist
// are left out, those that exist twice count twice, and time never stands
// still.
func TestClockChanges_B42(t *testing.T) {
	days := []string{"2026-03-28", "2026-10-24", "2026-03-07", "2026-10-31", "2026-04-23", "2026-10-29", "2026-04-04", "2026-10-03", "2026-06-01"}
	for _, name := range []string{"UTC", "Europe/Berlin", "America/New_York", "Africa/Cairo", "Australia/Lord_Howe", "Asia/Kathmandu"} {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range []string{"30 2 * * *", "30 1 * * *", "0 0 * * *", "15 0 * * *", "*/30 * * * *", "0 * * * *", "0 */6 * * *"} {
			job := cronJob("c", spec)
			job.Periodic.TimeZone = name
			for _, day := range days {
				from, err := time.Parse("2006-01-02", day)
				if err != nil {
					t.Fatal(err)
				}
				at := from
				for minute := from.Add(time.Minute); minute.Before(from.Add(60 * time.Hour)); minute = minute.Add(time.Minute) {
					if !matches(spec, minute.In(zone)) {
						continue
					}
					next, ok := Next(job, at)
					if !ok || !next.Equal(minute) {
						t.Errorf("%s in %s after %v: %v %v, want %v", spec, name, at.In(zone), next, ok, minute.In(zone))
					}
					at = minute
				}
			}
		}
	}
}

// seeds is the number that the environment gives, or n.
func seeds(t *testing.T, name string, n uint64) uint64 {
	t.Helper()
	if text := os.Getenv(name); text != "" {
		given, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return given
	}
	return n
}

// field is a random field of a cron expression with values from low to high.
func field(rng *rand.Rand, low, high int) string {
	value := func() int { return low + rng.IntN(high-low+1) }
	switch rng.IntN(6) {
	case 0, 1:
		return "*"
	case 2:
		return fmt.Sprintf("*/%d", 1+rng.IntN(high-low))
	case 3:
		a, b := value(), value()
		return fmt.Sprintf("%d-%d", min(a, b), max(a, b))
	case 4:
		return fmt.Sprintf("%d,%d", value(), value())
	}
	return strconv.Itoa(value())
}

// TestNextIsLater_B42: whatever the expression, the zone and the moment, at
// changes of the clocks above all, the next time is a later whole second: no job
// stands still, and none is launched more than once a second. CRON_CASES says
// how many cases there are (5,000).
func TestNextIsLater_B42(t *testing.T) {
	var zones []*time.Location
	for _, name := range []string{"UTC", "Europe/Berlin", "Europe/London", "Europe/Lisbon", "Europe/Moscow", "America/New_York", "America/St_Johns", "America/Santiago",
		"America/Sao_Paulo", "America/Havana", "Africa/Cairo", "Africa/Casablanca", "Asia/Tehran", "Asia/Kathmandu", "Asia/Gaza", "Asia/Kolkata", "Asia/Beirut",
		"Australia/Lord_Howe", "Australia/Sydney", "Pacific/Apia", "Pacific/Chatham", "Pacific/Auckland", "Antarctica/Troll"} {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		zones = append(zones, zone)
	}
	rng := rand.New(rand.NewPCG(42, 1))
	changes := make([][]time.Time, len(zones)) // of the clocks
	for i, zone := range zones {
		for at := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC); at.Year() < 2030; {
			_, end := at.In(zone).ZoneBounds()
			if end.IsZero() {
				break
			}
			changes[i], at = append(changes[i], end), end
		}
	}
	for n := range seeds(t, "CRON_CASES", 5_000) {
		i := rng.IntN(len(zones))
		after := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(rng.Int64N(int64(10 * 365 * 24 * time.Hour))))
		if len(changes[i]) > 0 && n%4 > 0 {
			after = changes[i][rng.IntN(len(changes[i]))].Add(time.Duration(rng.Int64N(int64(8*time.Hour))) - 4*time.Hour)
		}
		spec := strings.Join([]string{field(rng, 0, 59), field(rng, 0, 23), field(rng, 1, 28), field(rng, 1, 12), field(rng, 0, 6)}, " ")
		if n%3 == 0 {
			spec = field(rng, 0, 59) + " " + spec + " *"
		}
		job := cronJob("c", spec)
		job.Periodic.TimeZone = zones[i].String()
		for range 3 {
			next, ok := Next(job, after)
			if !ok {
				break // it never fires again
			}
			if !next.After(after) || next.Nanosecond() != 0 {
				t.Fatalf("%q in %s after %v: %v", spec, zones[i], after.In(zones[i]), next)
			}
			after = next
		}
	}
}

// cluster is a region whose leaders come and go; what they commit may be lost
// with them, before or after it counts.
type cluster struct {
	*world
	rng   *rand.Rand
	dying bool // guarded by mu
	count map[int64]int
	most  int // children of "slow" that were not done at once
}

var errNoLeader = errors.New("no leader")

// intn is a random number below n.
func (c *cluster) intn(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rng.IntN(n)
}

// commit runs a command; near the end of a term its answer may be lost.
func (c *cluster) commit(verb func(*state.Txn) error) error {
	c.mu.Lock()
	dying, lost := c.dying, c.rng.IntN(2) == 0
	c.mu.Unlock()
	if dying && lost {
		return errNoLeader
	}
	c.write(verb)
	if dying {
		return errNoLeader
	}
	return nil
}

// term runs one leader for a while; its last moments lose answers.
func (c *cluster) term(d time.Duration) {
	l := New(Config{Store: c.store, Logger: hclog.NewNullLogger(),
		Launch: func(_ context.Context, due []Launch) error { return c.commit(launchOf(due)) }})
	ctx, cancel := context.WithCancel(c.t.Context())
	var group sync.WaitGroup
	group.Add(1)
	go func() { defer group.Done(); _ = l.Run(ctx) }()
	time.Sleep(d)
	c.setDying(true)
	time.Sleep(time.Duration(c.intn(3000)) * time.Millisecond)
	cancel()
	group.Wait()
	c.setDying(false)
}

// counted counts the children that start, by their seconds, and those of the
// job that does not want two.
func (c *cluster) counted(change state.Changed) {
	open := 0
	for child := range change.After.JobChildren("default", "slow") {
		if child.Status != structs.JobStatusDead {
			open++
		}
	}
	c.most = max(c.most, open)
	for _, row := range change.Rows {
		if row.Table != state.TableJobs || row.Before != nil {
			continue
		}
		if text, child := strings.CutPrefix(row.After.(*structs.Job).ID, "cron/periodic-"); child {
			second, _ := strconv.ParseInt(text, 10, 64)
			c.count[second]++
		}
	}
}

// collect removes the children: that they were there is remembered.
func (c *cluster) collect() {
	for child := range c.store.Snapshot().JobChildren("default", "cron") {
		c.write(func(t *state.Txn) error {
			_, err := t.DeregisterJob(&state.JobDeregister{Namespace: "default", JobID: child.ID, Purge: true})
			return err
		})
	}
}

// end lets the children of "slow" be done, now and then, until ctx ends.
func (c *cluster) end(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(1+c.intn(200)) * time.Second):
		}
		for child := range c.store.Snapshot().JobChildren("default", "slow") {
			c.write(func(t *state.Txn) error {
				_, err := t.DeregisterJob(&state.JobDeregister{Namespace: "default", JobID: child.ID})
				return err
			})
		}
	}
}

func (c *cluster) setDying(dying bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dying = dying
}

// TestExactlyOnce_B40_B46 changes leaders around the ticks of two jobs, losing
// commands and answers, and children to the collector: no second is launched
// twice, no tick that had a leader is left out, what was missed is made up for
// by one launch at most, and the job that does not want two children at once
// never has them. CRON_SEEDS says from how many seeds (60).
func TestExactlyOnce_B40_B46(t *testing.T) {
	for seed := range seeds(t, "CRON_SEEDS", 60) {
		synctest.Test(t, func(t *testing.T) {
			c := &cluster{world: &world{t: t, store: state.New(state.Options{AllocKey: [16]byte{1}})}, rng: rand.New(rand.NewPCG(seed, 1)), count: map[int64]int{}}
			c.store.Observe(c.counted)
			c.register(cronJob("cron", "* * * * *"))
			slow := cronJob("slow", "* * * * *")
			slow.Periodic.ProhibitOverlap = true
			c.register(slow)
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() { defer close(ended); c.end(ctx) }()
			began := time.Now()
			var covered [][2]time.Time
			for range 8 {
				from := time.Now()
				c.term(time.Duration(30+c.intn(150)) * time.Second)
				covered = append(covered, [2]time.Time{from, time.Now()})
				c.collect()
				time.Sleep(time.Duration(c.intn(150)) * time.Second)
			}
			c.term(5 * time.Second) // makes up for the end
			stop()
			<-ended
			if c.most != 1 {
				t.Errorf("seed %d: %d children of a job that prohibits overlaps ran at once", seed, c.most)
			}
			late := 0
			for second, n := range c.count {
				if n != 1 {
					t.Errorf("seed %d: second %d was launched %d times", seed, second, n)
				}
				if second%60 != 0 {
					late++
				}
			}
			if late > len(covered)+1 {
				t.Errorf("seed %d: %d launches made up for missed ticks in %d terms", seed, late, len(covered)+1)
			}
			// A tick well inside a term was launched on time.
			for tick := began.Truncate(time.Minute).Add(time.Minute); tick.Before(time.Now()); tick = tick.Add(time.Minute) {
				for _, term := range covered {
					if tick.After(term[0].Add(2*time.Second)) && tick.Before(term[1].Add(-4*time.Second)) && c.count[tick.Unix()] != 1 {
						t.Errorf("seed %d: the tick %v within %v was launched %d times", seed, tick, term, c.count[tick.Unix()])
					}
				}
			}
		})
	}
}

// TestMissedTicks_B46: no, one or many ticks without a leader are at most one
// launch.
func TestMissedTicks_B46(t *testing.T) {
	for missed, want := range map[int]string{0: "[cron 00:01]", 1: "[cron 00:01 cron 00:02]", 100: "[cron 00:01 cron 01:41]"} {
		synctest.Test(t, func(t *testing.T) {
			w := &world{t: t, store: state.New(state.Options{AllocKey: [16]byte{1}})}
			w.register(cronJob("cron", "* * * * *"))
			w.lead(func() { time.Sleep(61 * time.Second) })
			time.Sleep(time.Duration(missed) * time.Minute)
			w.lead(func() { time.Sleep(time.Second) })
			if got := fmt.Sprint(w.launched); got != want {
				t.Errorf("%d missed: %s, want %s", missed, got, want)
			}
		})
	}
}

// BenchmarkTick is 10,000 jobs that are due at once.
func BenchmarkTick(b *testing.B) {
	const jobs = 10_000
	store := state.New(state.Options{AllocKey: [16]byte{1}})
	var mu sync.Mutex
	index := uint64(0)
	write := func(verb func(*state.Txn) error) error {
		mu.Lock()
		defer mu.Unlock()
		index++
		txn := store.Begin(index)
		defer txn.Commit()
		return verb(txn)
	}
	for i := range jobs {
		job := cronJob(fmt.Sprintf("cron-%d", i), "* * * * *")
		if err := write(func(t *state.Txn) error { _, err := t.RegisterJob(&state.JobRegister{Job: job}); return err }); err != nil {
			b.Fatal(err)
		}
	}
	l := New(Config{Store: store, Logger: hclog.NewNullLogger(),
		Launch: func(_ context.Context, due []Launch) error { return write(launchOf(due)) }})
	l.due = map[state.JobKey]*deadline{}
	now := time.Now()
	l.scan(now, true)
	for b.Loop() {
		now = now.Add(time.Minute)
		l.fire(b.Context(), now)
	}
}
