package member

import "bytes"

// lowered are memberlist's levels and what we make of them.
var lowered = []struct{ from, to []byte }{
	{[]byte("[ERR]"), []byte("[WARN]")},
	{[]byte("[WARN]"), []byte("[DEBUG]")},
	{[]byte("[INFO]"), []byte("[DEBUG]")},
	{[]byte("[DEBUG]"), []byte("[TRACE]")},
}

// lower lowers the level of a line of memberlist's log.
func lower(line []byte) []byte {
	for _, l := range lowered {
		if bytes.HasPrefix(line, l.from) {
			return append(bytes.Clone(l.to), line[len(l.from):]...)
		}
	}
	return line
}
