//go:build !race

package nomadlite

const raceEnabled = false
