package api

import "github.com/nomadlite/nomadlite/structs"

// Capability is a right that a row asks for, as "ns:read-job", "node:read" or
// several alternatives, as "ns:submit-job|register-job".
type Capability string

// ACL is what a token may do. The nil *ACL may do nothing: code that forgets
// to resolve a token denies.
type ACL struct {
	off        bool
	management bool
}

// ACLsOff is the explicit "there are no ACLs": it allows everything.
var ACLsOff = &ACL{off: true, management: true}

// Off reports whether ACLs are switched off.
func (a *ACL) Off() bool { return a != nil && a.off }

// Management reports whether the token may do everything.
func (a *ACL) Management() bool { return a != nil && a.management }

// Allows reports whether the token holds the capability, in the namespace when
// the capability has one ("*" asks for any namespace).
func (a *ACL) Allows(c Capability, namespace string) bool {
	return a.Management()
}

// errDenied is the answer to every request that is not allowed.
var errDenied = structs.Errorf(structs.Denied, "Permission denied")
