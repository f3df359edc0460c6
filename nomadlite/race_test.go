//go:build race

package nomadlite

// The race detector makes everything several times slower.
const raceEnabled = true
