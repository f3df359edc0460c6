package structs

import (
	"reflect"
	"time"
)

// Defaults of update and migrate blocks; see reference jobspec 3.1 and 3.2.
const (
	DefaultStagger          = 30 * time.Second
	DefaultMinHealthyTime   = 10 * time.Second
	DefaultHealthyDeadline  = 5 * time.Minute
	DefaultProgressDeadline = 10 * time.Minute
	HealthCheckChecks       = "checks"
	HealthCheckTaskStates   = "task_states"
	HealthCheckManual       = "manual"
)

// overlaid returns base with every non-nil pointer field of top written over
// it. Both are policies whose fields are all pointers; base may be nil. Neither
// argument's pointers are shared with the result.
func overlaid[T any](base, top *T) *T {
	out := reflect.New(reflect.TypeFor[T]())
	for _, layer := range []*T{base, top} {
		if layer == nil {
			continue
		}
		from := reflect.ValueOf(layer).Elem()
		for i := range from.NumField() {
			field := from.Field(i)
			if field.Kind() != reflect.Pointer || field.IsNil() {
				continue
			}
			value := reflect.New(field.Type().Elem())
			value.Elem().Set(field.Elem())
			out.Elem().Field(i).Set(value)
		}
	}
	return out.Interface().(*T)
}

// fillZero points every nil pointer field of a policy at its zero value.
func fillZero[T any](policy *T) {
	v := reflect.ValueOf(policy).Elem()
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Pointer && f.IsNil() {
			f.Set(reflect.New(f.Type().Elem()))
		}
	}
}

// isZeroPolicy reports whether a policy is nil or holds only nil and zero
// values, which is how clients send back a policy that never applied.
func isZeroPolicy[T any](policy *T) bool {
	if policy == nil {
		return true
	}
	v := reflect.ValueOf(policy).Elem()
	for i := range v.NumField() {
		f := v.Field(i)
		if f.Kind() == reflect.Pointer && !f.IsNil() && !f.Elem().IsZero() {
			return false
		}
	}
	return true
}

func defaultRestart(j *Job) *RestartPolicy {
	p := &RestartPolicy{
		Interval:        Ptr(30 * time.Minute),
		Attempts:        Ptr(2),
		Delay:           Ptr(15 * time.Second),
		Mode:            Ptr(RestartModeFail),
		RenderTemplates: Ptr(false),
	}
	if j.runsToCompletion() {
		p.Interval, p.Attempts = Ptr(24*time.Hour), Ptr(3)
	}
	return p
}

// canonicalReschedule is nil for system and sysbatch jobs that set nothing.
func canonicalReschedule(j *Job, group *ReschedulePolicy) *ReschedulePolicy {
	var def *ReschedulePolicy
	switch j.Type {
	case JobTypeBatch:
		def = &ReschedulePolicy{Attempts: Ptr(1), Interval: Ptr(24 * time.Hour), Delay: Ptr(5 * time.Second),
			DelayFunction: Ptr(DelayConstant), MaxDelay: Ptr(time.Duration(0)), Unlimited: Ptr(false)}
	case JobTypeSystem, JobTypeSysBatch:
		if isZeroPolicy(j.Reschedule) && isZeroPolicy(group) {
			return nil
		}
		def = &ReschedulePolicy{}
		fillZero(def)
	default:
		def = &ReschedulePolicy{Attempts: Ptr(0), Interval: Ptr(time.Duration(0)), Delay: Ptr(30 * time.Second),
			DelayFunction: Ptr(DelayExponential), MaxDelay: Ptr(time.Hour), Unlimited: Ptr(true)}
	}
	return overlaid(def, overlaid(j.Reschedule, group))
}

// canonicalMigrate is nil for all but service jobs that set nothing.
func canonicalMigrate(j *Job, group *MigrateStrategy) *MigrateStrategy {
	if j.Type != JobTypeService {
		if isZeroPolicy(j.Migrate) && isZeroPolicy(group) {
			return nil
		}
		return overlaid(j.Migrate, group)
	}
	def := &MigrateStrategy{MaxParallel: Ptr(1), HealthCheck: Ptr(HealthCheckChecks),
		MinHealthyTime: Ptr(DefaultMinHealthyTime), HealthyDeadline: Ptr(DefaultHealthyDeadline)}
	return overlaid(def, overlaid(j.Migrate, group))
}

// canonicalGroupUpdate overlays the group's update on the job's and fills in
// the rest. Batch and sysbatch groups keep what they set, for Validate to
// refuse, and have none otherwise.
func canonicalGroupUpdate(j *Job, group *UpdateStrategy) *UpdateStrategy {
	if !j.rolls() {
		if isZeroPolicy(j.Update) && isZeroPolicy(group) {
			return nil
		}
		if isZeroPolicy(j.Update) {
			return overlaid(nil, group)
		}
		return overlaid(j.Update, group)
	}
	job := j.Update
	if job != nil && job.HealthCheck != nil && *job.HealthCheck == "" {
		// The stored form, sent back by a client: only these two mean something.
		job = &UpdateStrategy{Stagger: job.Stagger, MaxParallel: job.MaxParallel}
		if isZeroPolicy(job) {
			job = nil
		}
	}
	def := &UpdateStrategy{
		Stagger:          Ptr(DefaultStagger),
		MaxParallel:      Ptr(1),
		HealthCheck:      Ptr(HealthCheckChecks),
		MinHealthyTime:   Ptr(DefaultMinHealthyTime),
		HealthyDeadline:  Ptr(DefaultHealthyDeadline),
		ProgressDeadline: Ptr(DefaultProgressDeadline),
		Canary:           Ptr(0),
		AutoRevert:       Ptr(false),
		AutoPromote:      Ptr(false),
	}
	return overlaid(def, overlaid(job, group))
}
