package api

import (
	"context"

	"github.com/nomadlite/nomadlite/structs"
)

// Services calls the routes of services.
type Services struct{ c *Client }

// Services returns the routes of services.
func (c *Client) Services() Services { return Services{c} }

// ServiceList are the services of one namespace.
type ServiceList struct {
	Namespace string
	Services  []*ServiceStub
}

// ServiceStub is a service as it is listed: Tags are those of all instances.
type ServiceStub struct {
	ServiceName string
	Tags        []string
}

// List returns the services by namespace.
func (s Services) List(ctx context.Context, q *QueryOptions) ([]*ServiceList, *QueryMeta, error) {
	return get[[]*ServiceList](ctx, s.c, "/v1/services", q)
}

// Get returns the instances of a service.
func (s Services) Get(ctx context.Context, name string, q *QueryOptions) ([]*structs.ServiceRegistration, *QueryMeta, error) {
	return get[[]*structs.ServiceRegistration](ctx, s.c, "/v1/service/"+Escape(name), q)
}

// Delete removes the registration of an instance.
func (s Services) Delete(ctx context.Context, name, id string, w *WriteOptions) (*WriteMeta, error) {
	return s.c.Delete(ctx, "/v1/service/"+Escape(name)+"/"+Escape(id), nil, w)
}

// CheckResult is what a check of an allocation said last.
type CheckResult struct {
	ID         string
	Mode       string // healthiness or readiness
	Status     string // success, failure or pending
	StatusCode int    `json:",omitempty"` // of http checks
	Output     string
	Timestamp  int64 // unix seconds
	Group      string
	Task       string `json:",omitempty"`
	Service    string
	Check      string
}

// Checks returns the results of an allocation's checks by id.
func (a Allocations) Checks(ctx context.Context, id string, q *QueryOptions) (map[string]*CheckResult, *QueryMeta, error) {
	return get[map[string]*CheckResult](ctx, a.c, "/v1/client/allocation/"+Escape(id)+"/checks", q)
}
