package api

import "context"

// Scaling reads scaling policies.
type Scaling struct{ c *Client }

// Scaling returns the handle for scaling policies.
func (c *Client) Scaling() Scaling { return Scaling{c} }

// Policies lists the scaling policies of a job and a type; "" is any.
func (s Scaling) Policies(ctx context.Context, job, kind string, q *QueryOptions) ([]*ScalingPolicyStub, *QueryMeta, error) {
	for k, v := range map[string]string{"job": job, "type": kind} {
		if v != "" {
			q = q.with(k, v)
		}
	}
	return get[[]*ScalingPolicyStub](ctx, s.c, "/v1/scaling/policies", q)
}

// Policy returns one scaling policy.
func (s Scaling) Policy(ctx context.Context, id string, q *QueryOptions) (*ScalingPolicy, *QueryMeta, error) {
	return get[*ScalingPolicy](ctx, s.c, "/v1/scaling/policy/"+Escape(id), q)
}
