package structs

// ScalingEvent records that a group was scaled, or what an autoscaler had to
// say about it.
type ScalingEvent struct {
	Count         *int64 // nil when nothing was scaled
	PreviousCount int64
	Error         bool
	Message       string
	Meta          map[string]any
	EvalID        *string
	Time          uint64 // unix nanoseconds
	CreateIndex   uint64
}

// TrackedScalingEvents is how many events of a group are kept (runtime.md 13).
const TrackedScalingEvents = 20
