package nomadlite

import "testing"

// TestSnapshotDue: the log between snapshots grows with what a snapshot costs.
func TestSnapshotDue(t *testing.T) {
	for _, tt := range []struct {
		written uint64
		size    int64
		due     bool
	}{{0, 0, false}, {snapshotBytes - 1, 0, false}, {snapshotBytes, 0, true}, {snapshotBytes, 2 * snapshotBytes, false}, {2 * snapshotBytes, 2 * snapshotBytes, true}, {snapshotBytes, -1, true}} {
		if due := snapshotDue(tt.written, tt.size); due != tt.due {
			t.Errorf("%d written since one of %d bytes: due is %v", tt.written, tt.size, due)
		}
	}
}
