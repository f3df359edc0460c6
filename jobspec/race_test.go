//go:build race

package jobspec

// The race detector makes everything several times slower.
const raceEnabled = true
