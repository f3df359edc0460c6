// Package version says what this build is.
package version

// Nomadlite is our own version; Contract is the version of the public contract
// that this build speaks, which clients compare with.
const (
	Nomadlite = "0.1.0"
	Contract  = "2.0.6"
)

// Revision is the commit of the build, set by the linker.
var Revision = ""
