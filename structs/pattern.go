package structs

import (
	"regexp"
	"sync"
)

// pattern is a regular expression that is compiled when it is first used. Those
// of names count to 128 and more, which makes them large, and every process of
// a node, each driver and the keeper too, begins with this package.
func pattern(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}
