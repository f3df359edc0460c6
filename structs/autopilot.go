package structs

import (
	"encoding/json"
	"fmt"
	"time"
)

// AutopilotConfiguration is how the leader cares for the set of servers. The
// contract's names; durations are texts in JSON.
type AutopilotConfiguration struct {
	// CleanupDeadServers removes peers that do not answer, as far as a quorum
	// stays.
	CleanupDeadServers bool
	// LastContactThreshold and MaxTrailingLogs are how far a healthy server may
	// be behind.
	LastContactThreshold TextDuration
	MaxTrailingLogs      uint64
	// MinQuorum is how many voters stay whatever happens; 0 is no limit.
	MinQuorum uint
	// ServerStabilizationTime is how long a new server must be healthy before
	// it votes.
	ServerStabilizationTime TextDuration
	// What the contract's owner sells is accepted when it is off.
	EnableRedundancyZones   bool
	DisableUpgradeMigration bool
	EnableCustomUpgrades    bool

	CreateIndex uint64
	ModifyIndex uint64
}

// TextDuration is a duration that is a text like "10s" in JSON. A number of
// nanoseconds is read too.
type TextDuration time.Duration

// MarshalJSON implements json.Marshaler.
func (d TextDuration) MarshalJSON() ([]byte, error) {
	return json.Marshal(time.Duration(d).String())
}

// UnmarshalJSON implements json.Unmarshaler.
func (d *TextDuration) UnmarshalJSON(b []byte) error {
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		var n int64
		if err := json.Unmarshal(b, &n); err != nil {
			return fmt.Errorf("want a duration like \"10s\" or nanoseconds, got %s", b)
		}
		*d = TextDuration(n)
		return nil
	}
	v, err := time.ParseDuration(text)
	if err != nil {
		return err
	}
	*d = TextDuration(v)
	return nil
}

// Validate returns what is wrong with the configuration.
func (c *AutopilotConfiguration) Validate() error {
	switch {
	case c.LastContactThreshold < 0 || c.ServerStabilizationTime < 0:
		return Errorf(Invalid, "LastContactThreshold and ServerStabilizationTime must not be negative")
	case c.EnableRedundancyZones || c.EnableCustomUpgrades:
		return Errorf(Invalid, "redundancy zones and custom upgrades are not in this build")
	}
	return nil
}

// DefaultAutopilot is the contract's configuration of a new cluster.
func DefaultAutopilot() *AutopilotConfiguration {
	return &AutopilotConfiguration{
		CleanupDeadServers: true, LastContactThreshold: TextDuration(200 * time.Millisecond),
		MaxTrailingLogs: 250, ServerStabilizationTime: TextDuration(10 * time.Second),
	}
}
