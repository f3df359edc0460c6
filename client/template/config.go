package template

import (
	"path"
	"time"
)

// Config is what a node lets templates do, and how patient it is with them.
// The zero value is the contract's defaults.
type Config struct {
	// Denied are patterns (path.Match) of functions that templates may not call,
	// beside executeTemplate, plugin and writeToFile, which no build has.
	Denied []string
	// Quiet and Patience stand where a template has no wait of its own: a change
	// is rendered when nothing changed for Quiet, at the latest after Patience.
	Quiet, Patience time.Duration
	// Bounds hold what templates ask for within them; zero bounds nothing.
	Bounds Bounds
	// LookupWait is how long one question to the servers waits for a change.
	LookupWait time.Duration
	// Retry and MaxRetry are the pause after a question that failed: the first,
	// doubled each time up to the second.
	Retry, MaxRetry time.Duration
}

// Bounds are the least quiet and the greatest patience of templates.
type Bounds struct{ Min, Max time.Duration }

// orDefault fills in the contract's defaults.
func (c Config) orDefault() Config {
	for _, d := range []struct {
		v    *time.Duration
		then time.Duration
	}{{&c.Quiet, defaultQuiet}, {&c.Patience, defaultPatience}, {&c.LookupWait, lookupWait}, {&c.Retry, minRetry}, {&c.MaxRetry, maxRetry}} {
		if *d.v <= 0 {
			*d.v = d.then
		}
	}
	c.MaxRetry, c.Patience = max(c.MaxRetry, c.Retry), max(c.Patience, c.Quiet)
	return c
}

// within holds a wait within the bounds.
func (b Bounds) within(quiet, patience time.Duration) (time.Duration, time.Duration) {
	quiet = max(quiet, b.Min)
	if b.Max > 0 {
		quiet, patience = min(quiet, b.Max), min(patience, b.Max)
	}
	return quiet, max(quiet, patience)
}

// denies reports whether templates may not call a function.
func (c Config) denies(name string) bool {
	for _, pattern := range c.Denied {
		if ok, err := path.Match(pattern, name); ok && err == nil {
			return true
		}
	}
	return false
}
