package structs

import (
	"fmt"
	"reflect"
	"strings"
	"time"
)

// validate checks a canonicalized group of job j.
func (g *TaskGroup) validate(p *problems, j *Job) {
	if Val(g.Count) < 0 {
		p.add("Task group count can't be negative, is %d", *g.Count)
	}
	validateText(p, "Task group name", g.Name)
	p.refuse(reflect.ValueOf(g).Elem())
	g.validatePlacement(p, j)
	g.validatePolicies(p, j)
	g.validateVolumes(p, j)
	g.validateNetworks(p)
	g.validateScaling(p, j)
	g.validateServices(p)
	if d := g.ShutdownDelay; d != nil {
		p.notNegative("shutdown_delay", *d)
	}
	if d := g.MaxRunDuration; d != nil {
		if !j.runsToCompletion() {
			p.add("max_run_duration is only allowed for batch and sysbatch jobs, not %s", j.Type)
		}
		if *d <= 0 {
			p.add("max_run_duration must be greater than 0, is %v", *d)
		}
	}
	if Val(g.StopAfterClientDisconnect) != 0 || Val(g.MaxClientDisconnect) != 0 || g.PreventRescheduleOnLost != nil {
		p.warn("group %q uses stop_after_client_disconnect, max_client_disconnect or prevent_reschedule_on_lost, which are ignored: use a disconnect block", g.Name)
	}
	g.validateTasks(p, j)
}

func (g *TaskGroup) validatePlacement(p *problems, j *Job) {
	validateConstraints(p, "Constraint", g.Constraints, placementGroup)
	if j.Type == JobTypeSystem {
		if len(g.Affinities) > 0 {
			p.add("System jobs may not have an affinity block")
		}
		if len(g.Spreads) > 0 {
			p.add("System jobs may not have a spread block")
		}
	}
	validateAffinities(p, g.Affinities)
	validateSpreads(p, g.Spreads)
}

func (g *TaskGroup) validatePolicies(p *problems, j *Job) {
	if g.EphemeralDisk.SizeMB != nil && *g.EphemeralDisk.SizeMB < 10 {
		p.add("Ephemeral disk size can't be less than 10 MB, is %d", *g.EphemeralDisk.SizeMB)
	}
	g.RestartPolicy.validate(p)
	switch {
	case j.Type == JobTypeSystem || j.Type == JobTypeSysBatch:
		if g.ReschedulePolicy != nil {
			p.add("%s jobs should not have a reschedule policy", j.Type)
		}
	default:
		g.ReschedulePolicy.validate(p)
	}
	if g.Update != nil {
		if !j.rolls() {
			p.add("Job type %q does not allow update block", j.Type)
		} else {
			g.Update.validate(p, g)
		}
	}
	if g.Migrate != nil {
		if j.Type != JobTypeService {
			p.add("Job type %q does not allow migrate block", j.Type)
		} else {
			g.Migrate.validate(p)
		}
	}
	if g.Disconnect != nil {
		g.Disconnect.validate(p, j)
	}
}

func (r *RestartPolicy) validate(p *problems) {
	p.oneOf("Unsupported restart mode", *r.Mode, RestartModeFail, RestartModeDelay)
	if *r.Attempts < 0 {
		p.add("restart attempts must not be negative, is %d", *r.Attempts)
	}
	p.notNegative("restart delay", *r.Delay)
	if *r.Attempts == 0 && *r.Mode != RestartModeFail {
		p.add("Restart policy %q with %d attempts is ambiguous: use mode \"fail\" or attempts above 0", *r.Mode, *r.Attempts)
	}
	if *r.Interval < 5*time.Second {
		p.add("Interval can not be less than 5s, is %v", *r.Interval)
	}
	if need, ok := times(*r.Delay, *r.Attempts); !ok || need > *r.Interval {
		p.add("Nomad can't restart the TaskGroup %d times in an interval of %v with a delay of %v", *r.Attempts, *r.Interval, *r.Delay)
	}
}

// times multiplies without overflow.
func times(d time.Duration, n int) (time.Duration, bool) {
	if d <= 0 || n <= 0 {
		return 0, true
	}
	product := d * time.Duration(n)
	return product, product/time.Duration(n) == d
}

func (r *ReschedulePolicy) validate(p *problems) {
	unlimited, attempts, interval := Val(r.Unlimited), Val(r.Attempts), Val(r.Interval)
	if !unlimited && attempts <= 0 {
		if attempts < 0 {
			p.add("reschedule attempts must not be negative, is %d", attempts)
		}
		return
	}
	if unlimited && attempts > 0 {
		p.add("Reschedule Policy with unlimited = true and attempts = %d is ambiguous: set unlimited = false", attempts)
	}
	delay, limit, function := Val(r.Delay), Val(r.MaxDelay), Val(r.DelayFunction)
	if delay < 5*time.Second {
		p.add("Delay cannot be less than 5s (got %v)", delay)
	}
	p.oneOf("Invalid delay function", function, DelayConstant, DelayExponential, DelayFibonacci)
	if function != DelayConstant {
		if limit < 5*time.Second {
			p.add("Max Delay cannot be less than 5s (got %v)", limit)
		}
		if limit < delay {
			p.add("Max Delay cannot be less than Delay %v (got %v)", delay, limit)
		}
	}
	if unlimited {
		return
	}
	if interval < 15*time.Second {
		p.add("Interval cannot be less than 15s (got %v)", interval)
	} else if need := rescheduleTime(attempts, delay, limit, function); need > interval {
		p.add("Nomad can only make fewer than %d attempts in %v with initial delay %v and delay function %q: set the interval to at least %v",
			attempts, interval, delay, function, need)
	}
}

// rescheduleTime is how long the delays of n attempts last together. It stops
// adding once the sum is beyond any interval that can be written.
func rescheduleTime(n int, delay, limit time.Duration, function string) time.Duration {
	const far = time.Duration(1) << 61
	var sum, before time.Duration
	for range n {
		sum += delay
		if sum > far || sum < 0 {
			return far
		}
		next := delay
		switch function {
		case DelayExponential:
			next = 2 * delay
		case DelayFibonacci:
			next = max(delay, delay+before)
		}
		before = delay
		if function != DelayConstant && limit > 0 {
			next = min(next, limit)
		}
		if next == delay && delay > 0 {
			before = 0
		}
		delay = next
	}
	return sum
}

func (u *UpdateStrategy) validate(p *problems, g *TaskGroup) {
	p.oneOf("Invalid health check", *u.HealthCheck, HealthCheckChecks, HealthCheckTaskStates, HealthCheckManual)
	if *u.MaxParallel < 0 {
		p.add("Max parallel can not be less than zero: %d < 0", *u.MaxParallel)
	}
	if *u.Canary < 0 {
		p.add("Canary count can not be less than zero: %d < 0", *u.Canary)
	}
	if *u.Canary == 0 && *u.AutoPromote {
		p.add("Auto Promote requires a Canary count greater than zero")
	}
	p.notNegative("min_healthy_time", *u.MinHealthyTime)
	if *u.HealthyDeadline <= 0 {
		p.add("Healthy deadline must be greater than zero: %v", *u.HealthyDeadline)
	}
	p.notNegative("progress_deadline", *u.ProgressDeadline)
	if *u.MinHealthyTime >= *u.HealthyDeadline {
		p.add("Minimum healthy time must be less than healthy deadline: %v > %v", *u.MinHealthyTime, *u.HealthyDeadline)
	}
	if *u.ProgressDeadline != 0 && *u.HealthyDeadline >= *u.ProgressDeadline {
		p.add("Healthy deadline must be less than progress deadline: %v > %v", *u.HealthyDeadline, *u.ProgressDeadline)
	}
	if *u.Stagger <= 0 {
		p.add("Stagger must be greater than zero: %v", *u.Stagger)
	}
	if n := Val(g.Count); n > 1 && *u.MaxParallel > n {
		p.warn("Update max parallel count is greater than task group count (%d > %d). A destructive change would result in the simultaneous replacement of all allocations.", *u.MaxParallel, n)
	}
}

func (m *MigrateStrategy) validate(p *problems) {
	if *m.MaxParallel < 0 {
		p.add("MaxParallel must be >= 0 but found %d", *m.MaxParallel)
	}
	p.oneOf("Invalid migrate health_check", *m.HealthCheck, HealthCheckChecks, HealthCheckTaskStates)
	p.notNegative("MinHealthyTime", *m.MinHealthyTime)
	p.notNegative("HealthyDeadline", *m.HealthyDeadline)
	if *m.MinHealthyTime > *m.HealthyDeadline {
		p.add("MinHealthyTime must be less than HealthyDeadline: %v > %v", *m.MinHealthyTime, *m.HealthyDeadline)
	}
}

func (d *DisconnectStrategy) validate(p *problems, j *Job) {
	if d.LostAfter != nil {
		p.notNegative("disconnect lost_after", *d.LostAfter)
	}
	if d.StopOnClientAfter != nil {
		p.notNegative("disconnect stop_on_client_after", *d.StopOnClientAfter)
		if Val(d.LostAfter) > 0 {
			p.add("disconnect: lost_after and stop_on_client_after cannot be used together")
		}
		if j.Type != JobTypeService && j.Type != JobTypeBatch {
			p.add("disconnect: stop_on_client_after can only be used with service or batch jobs, not %s", j.Type)
		}
	}
	p.oneOf("invalid disconnect reconcile", *d.Reconcile, ReconcileBestScore, ReconcileKeepOriginal, ReconcileKeepReplacement, ReconcileLongestRunning)
}

func (g *TaskGroup) validateScaling(p *problems, j *Job) {
	s := g.Scaling
	if s == nil {
		return
	}
	if j.Type == JobTypeSystem {
		p.add("Task Group %q: scaling is not allowed for %s jobs", g.Name, j.Type)
	}
	if s.Type != ScalingTypeHorizontal {
		p.add("scaling policy type %q is not valid: only %q is supported", s.Type, ScalingTypeHorizontal)
	}
	if s.Max == nil {
		p.add("scaling policy requires max to be set")
		return
	}
	count := int64(Val(g.Count))
	switch {
	case *s.Max < 0:
		p.add("Scaling policy invalid: maximum count must be specified and non-negative, is %d", *s.Max)
	case Val(s.Min) > *s.Max:
		p.add("Scaling policy invalid: maximum count must not be less than minimum count: %d < %d", *s.Max, Val(s.Min))
	case count < Val(s.Min):
		p.add("Scaling policy invalid: task group count must not be less than minimum count in scaling policy: %d < %d", count, Val(s.Min))
	case count > *s.Max:
		p.add("Scaling policy invalid: task group count must not be greater than maximum count in scaling policy: %d > %d", count, *s.Max)
	}
}

func (g *TaskGroup) validateTasks(p *problems, j *Job) {
	if len(g.Tasks) == 0 {
		p.add("Missing tasks for task group")
	}
	seen := map[string]int{}
	leaders, mains := 0, 0
	for i, t := range g.Tasks {
		if t.Name == "" {
			p.add("Task %d missing name", i+1)
		} else if first, dup := seen[t.Name]; dup {
			p.add("Task %d redefines '%s' from task %d", i+1, t.Name, first)
		} else {
			seen[t.Name] = i + 1
		}
		if t.Leader {
			leaders++
		}
		if t.Lifecycle == nil {
			mains++
		}
	}
	if leaders > 1 {
		p.add("Only one task may be marked as leader")
	}
	if mains == 0 && len(g.Tasks) > 0 {
		p.add("Task group must have at least one main task (one with no lifecycle block)")
	}
	for _, t := range g.Tasks {
		inner := p.child()
		t.validate(inner, j, g)
		p.nest(fmt.Sprintf("Task %s validation failed", t.Name), inner)
	}
}

// validateNetworks checks ports over the group and its tasks.
func (g *TaskGroup) validateNetworks(p *problems) {
	labels := map[string]string{}
	static := map[string]map[int]string{}
	for _, n := range g.Networks {
		validateNetwork(p, n, "group network", labels, static)
	}
	args := map[string]bool{}
	for _, n := range g.Networks {
		if n.CNI == nil {
			continue
		}
		for key, value := range n.CNI.Args {
			if strings.Contains(key, ";") || strings.Contains(value, ";") {
				p.add("CNI argument %q must not contain ';'", key)
			}
			if args[key] {
				p.add("CNI argument %q is given by more than one network", key)
			}
			args[key] = true
		}
	}
	for _, t := range g.Tasks {
		for _, n := range t.Resources.Networks {
			validateNetwork(p, n, "task "+t.Name, labels, static)
		}
	}
}

func validateNetwork(p *problems, n *NetworkResource, where string, labels map[string]string, static map[string]map[int]string) {
	if Val(n.MBits) > 0 {
		p.warn("mbits has been deprecated as of Nomad 0.12.0. Please remove mbits from the network block")
	}
	for _, port := range append(append([]Port(nil), n.ReservedPorts...), n.DynamicPorts...) {
		if port.Label == "" {
			p.add("Port label can not be empty in %s", where)
			continue
		}
		if other, dup := labels[port.Label]; dup {
			p.add("Port label %s already in use by %s", port.Label, other)
		} else {
			labels[port.Label] = where
		}
		port.validate(p, n, static)
	}
}

func (port Port) validate(p *problems, n *NetworkResource, static map[string]map[int]string) {
	const maxPort = 65535
	if port.Value < 0 || port.Value > maxPort {
		p.add("Port %s: static port %d is not between 0 and %d", port.Label, port.Value, maxPort)
	}
	if port.To < -1 || port.To > maxPort {
		p.add("Port %s cannot be mapped to a port (%d) greater than %d or below -1", port.Label, port.To, maxPort)
	}
	if port.IgnoreCollision && n.Mode != "" && n.Mode != "host" {
		p.add("Port %s: ignore_collision is only allowed in host network mode, not %q", port.Label, n.Mode)
	}
	if port.Value <= 0 || port.IgnoreCollision {
		return
	}
	host := port.HostNetwork
	setDefault(&host, "default")
	if static[host] == nil {
		static[host] = map[int]string{}
	}
	if other, dup := static[host][port.Value]; dup {
		p.add("Static port %d already reserved by %s", port.Value, other)
		return
	}
	static[host][port.Value] = port.Label
}
