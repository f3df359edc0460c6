package api

import (
	"context"
	"io"
	"time"

	"github.com/nomadlite/nomadlite/structs"
)

// Workloads is what a node needs of the servers for its tasks: services,
// variables, identities. In a dev agent the server implements it directly;
// over the wire the internal routes do. Errors are those of Servers.
type Workloads interface {
	// UpdateServices tells what the node's allocations offer; it returns when
	// that is committed.
	UpdateServices(ctx context.Context, req NodeServicesRequest) error
	// Lookup reads data for the tasks of an allocation. It blocks until the
	// answer's index is greater than Since, at most for Wait.
	Lookup(ctx context.Context, req WorkloadLookup) (*WorkloadData, error)
	// SignIdentities makes the identity tokens of an allocation's tasks.
	SignIdentities(ctx context.Context, req IdentityRequest) (*IdentityResponse, error)
	// CheckIdentity says whose a token is; Denied for one that is not, or not
	// any more, an identity of this region.
	CheckIdentity(ctx context.Context, req IdentityCheck) (*IdentityClaims, error)
	// PreviousDisk reads what the allocation before one left on another node, as
	// client/rootfs archives it; it begins when that allocation has ended.
	PreviousDisk(ctx context.Context, req MigrateRequest) (io.ReadCloser, error)
}

// NodeServicesRequest changes what a node has registered.
type NodeServicesRequest struct {
	NodeID   string
	SecretID string
	// Full says that Set is everything.
	Full   bool
	Set    []*structs.ServiceRegistration
	Remove []string
}

// Kinds of WorkloadLookup.
const (
	LookupVariable  = "variable"  // Name is its path
	LookupVariables = "variables" // Name is a prefix
	LookupService   = "service"   // Name is its name
	LookupServices  = "services"  // Name is empty
)

// WorkloadLookup asks for data in the namespace of an allocation, on behalf of
// one of its tasks; without an allocation a node asks for itself, for a service
// of Namespace.
type WorkloadLookup struct {
	NodeID    string
	SecretID  string
	AllocID   string
	Task      string
	Kind      string
	Name      string
	Namespace string
	Since     uint64
	Wait      time.Duration
}

// WorkloadData answers a WorkloadLookup. What is not there is nil or empty.
type WorkloadData struct {
	Index     uint64
	Variable  *structs.Variable
	Variables []*structs.VariableMetadata
	Services  []*structs.ServiceRegistration
}

// IdentityRequest asks for tokens of tasks of an allocation.
type IdentityRequest struct {
	NodeID   string
	SecretID string
	AllocID  string
	Wanted   []IdentityName
}

// IdentityName is one identity of one task, or of a service of the group or of
// a task.
type IdentityName struct {
	Task    string
	Service string
	Name    string
}

// MigrateRequest asks for the disk that the allocation before AllocID left.
type MigrateRequest struct {
	NodeID   string
	SecretID string
	AllocID  string
}

// MigrateGrant is the right to read what an allocation left.
type MigrateGrant struct{ AllocID, Token string }

// IdentityCheck asks whose a token is.
type IdentityCheck struct {
	NodeID   string
	SecretID string
	Token    string
}

// IdentityClaims is what a token says of the task that it was given to.
type IdentityClaims struct{ AllocID, Task, Namespace string }

// IdentityResponse holds the signed tokens in the order of Wanted.
type IdentityResponse struct{ Tokens []SignedIdentity }

// SignedIdentity is a token; Expires is zero for one that does not expire.
type SignedIdentity struct {
	JWT     string
	Expires time.Time
}
