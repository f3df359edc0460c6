package fsm

import "testing"

// TestCommandsAreWhole: every row of the table can be written, applied and
// shown to people.
func TestCommandsAreWhole(t *testing.T) {
	for typ, c := range commands {
		if c.name == "" || c.schema == 0 || c.limit == 0 || c.encode == nil || c.apply == nil || c.decode == nil {
			t.Errorf("command %d (%s) lacks something: %+v", typ, c.name, c)
		}
	}
}
