//go:build !race

package jobspec

const raceEnabled = false
