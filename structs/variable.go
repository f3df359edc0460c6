package structs

import (
	"strings"
)

// VariableMetadata is what is known of a variable without its items.
type VariableMetadata struct {
	Namespace   string
	Path        string
	CreateIndex uint64
	ModifyIndex uint64
	CreateTime  int64 // unix nanoseconds
	ModifyTime  int64
}

// Variable is a set of secret items under a path. It is stored encrypted.
type Variable struct {
	VariableMetadata
	Items map[string]string
}

// MaxVariableSize bounds the keys and values of a variable together.
const MaxVariableSize = 64 << 10

var (
	variablePath = pattern(`^[a-zA-Z0-9-_~/]{1,128}$`)
	variableItem = pattern(`^[^\x00\n]{1,255}$`)
)

// Validate says what is wrong with a variable that shall be written.
func (v *Variable) Validate() error {
	if err := CheckVariablePath(v.Path); err != nil {
		return err
	}
	if len(v.Items) == 0 {
		return Errorf(Invalid, "variable missing required Items object")
	}
	size := 0
	for key, value := range v.Items {
		if !variableItem().MatchString(key) {
			return Errorf(Invalid, "invalid item key %q: it must be 1 to 255 bytes long, without line breaks", key)
		}
		size += len(key) + len(value)
	}
	if size > MaxVariableSize {
		return Errorf(Invalid, "items of variable %q are %d bytes together, the limit is %d", v.Path, size, MaxVariableSize)
	}
	return nil
}

// CheckVariablePath holds paths to their alphabet, and "nomad/" to what the
// cluster itself knows.
func CheckVariablePath(path string) error {
	if !variablePath().MatchString(path) {
		return Errorf(Invalid, "invalid path %q", path)
	}
	if path != "nomad" && !strings.HasPrefix(path, "nomad/") {
		return nil
	}
	if path == "nomad/jobs" || strings.HasPrefix(path, "nomad/jobs/") || strings.HasPrefix(path, "nomad/job-templates/") {
		return nil
	}
	return Errorf(Invalid, "only paths at \"nomad/jobs\" or below and below \"nomad/job-templates\" are valid paths under the top-level \"nomad\" directory, not %q", path)
}

// Root key states (the contract's words).
const (
	RootKeyActive       = "active"       // encrypts and signs
	RootKeyInactive     = "inactive"     // kept for what it encrypted and signed
	RootKeyRekeying     = "rekeying"     // what it encrypted is encrypted again
	RootKeyPrepublished = "prepublished" // known to verifiers, not yet in use
)

// RootKeyMeta describes a root key.
type RootKeyMeta struct {
	KeyID       string
	Algorithm   string
	State       string
	CreateTime  int64
	PublishTime int64
	CreateIndex uint64
	ModifyIndex uint64
}
