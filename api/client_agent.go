package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/nomadlite/nomadlite/structs"
)

// Agent calls the routes of the agent that is asked.
type Agent struct{ c *Client }

// Agent returns the routes of the agent.
func (c *Client) Agent() Agent { return Agent{c} }

// Self returns what the agent says of itself.
func (a Agent) Self(ctx context.Context) (*AgentSelf, error) {
	out, _, err := get[*AgentSelf](ctx, a.c, "/v1/agent/self", nil)
	return out, err
}

// Members lists the members that the agent knows.
func (a Agent) Members(ctx context.Context, q *QueryOptions) (*ServerMembers, error) {
	out, _, err := get[*ServerMembers](ctx, a.c, "/v1/agent/members", q)
	return out, err
}

// Servers lists the servers that the agent's client talks to.
func (a Agent) Servers(ctx context.Context) ([]string, error) {
	out, _, err := get[[]string](ctx, a.c, "/v1/agent/servers", nil)
	return out, err
}

// SetServers replaces the servers that the agent's client talks to.
func (a Agent) SetServers(ctx context.Context, addresses []string) error {
	_, err := a.c.Put(ctx, "/v1/agent/servers?"+repeat("address", addresses), nil, nil, nil)
	return err
}

// Join makes the agent join other servers.
func (a Agent) Join(ctx context.Context, addresses ...string) (*JoinResponse, error) {
	out := &JoinResponse{}
	_, err := a.c.Put(ctx, "/v1/agent/join?"+repeat("address", addresses), nil, out, nil)
	return out, err
}

// ForceLeave takes a failed member for gone; with prune it is forgotten.
func (a Agent) ForceLeave(ctx context.Context, node string, prune bool) error {
	_, err := a.c.Put(ctx, "/v1/agent/force-leave", nil, nil, (&WriteOptions{}).with(map[string]string{"node": node, "prune": strconv.FormatBool(prune)}))
	return err
}

// Keyring lists, installs, uses or removes gossip keys.
func (a Agent) Keyring(ctx context.Context, action, key string) (*KeyringResponse, error) {
	out := &KeyringResponse{}
	if action == "list" {
		_, err := a.c.Get(ctx, "/v1/agent/keyring/list", out, nil)
		return out, err
	}
	_, err := a.c.Put(ctx, "/v1/agent/keyring/"+Escape(action), map[string]string{"Key": key}, out, nil)
	return out, err
}

// Health returns the health of the agent, also when it is bad.
func (a Agent) Health(ctx context.Context) (*AgentHealthResponse, error) {
	out := &AgentHealthResponse{}
	_, err := a.c.Get(ctx, "/v1/agent/health", out, nil)
	var bad *ResponseError
	if errors.As(err, &bad) && bad.Code == http.StatusInternalServerError && json.Unmarshal([]byte(bad.Body), out) == nil {
		return out, nil
	}
	return out, err
}

// Leader returns the address of the leader, "" for none.
func (c *Client) Leader(ctx context.Context, q *QueryOptions) (string, error) {
	out, _, err := get[string](ctx, c, "/v1/status/leader", q)
	return out, err
}

// Peers returns the addresses of the Raft peers.
func (c *Client) Peers(ctx context.Context, q *QueryOptions) ([]string, error) {
	out, _, err := get[[]string](ctx, c, "/v1/status/peers", q)
	return out, err
}

// Regions lists the known regions.
func (c *Client) Regions(ctx context.Context) ([]string, error) {
	out, _, err := get[[]string](ctx, c, "/v1/regions", nil)
	return out, err
}

// SystemGC collects all garbage now.
func (c *Client) SystemGC(ctx context.Context) error {
	_, err := c.Put(ctx, "/v1/system/gc", nil, nil, nil)
	return err
}

// ReconcileSummaries counts all job summaries again.
func (c *Client) ReconcileSummaries(ctx context.Context) error {
	_, err := c.Put(ctx, "/v1/system/reconcile/summaries", nil, nil, nil)
	return err
}

// Metrics returns the agent's metrics.
func (c *Client) Metrics(ctx context.Context) (*MetricsSummary, error) {
	out, _, err := get[*MetricsSummary](ctx, c, "/v1/metrics", nil)
	return out, err
}

// Operator calls the routes of operators.
type Operator struct{ c *Client }

// Operator returns the routes of operators.
func (c *Client) Operator() Operator { return Operator{c} }

// RaftConfiguration lists the Raft peers.
func (o Operator) RaftConfiguration(ctx context.Context, q *QueryOptions) (*RaftConfiguration, error) {
	out, _, err := get[*RaftConfiguration](ctx, o.c, "/v1/operator/raft/configuration", q)
	return out, err
}

// RaftRemovePeer removes a Raft peer.
func (o Operator) RaftRemovePeer(ctx context.Context, id string) error {
	_, err := o.c.Delete(ctx, "/v1/operator/raft/peer", nil, (&WriteOptions{}).with(map[string]string{"id": id}))
	return err
}

// RaftTransferLeadership makes the peer with an id or an address the leader.
func (o Operator) RaftTransferLeadership(ctx context.Context, id, addr string) (*TransferLeadershipResponse, error) {
	params := map[string]string{"id": id}
	if id == "" {
		params = map[string]string{"address": addr}
	}
	out := &TransferLeadershipResponse{}
	_, err := o.c.Put(ctx, "/v1/operator/raft/transfer-leadership", nil, out, (&WriteOptions{}).with(params))
	return out, err
}

// AutopilotConfiguration returns how the leader cares for the servers.
func (o Operator) AutopilotConfiguration(ctx context.Context, q *QueryOptions) (*structs.AutopilotConfiguration, error) {
	out, _, err := get[*structs.AutopilotConfiguration](ctx, o.c, "/v1/operator/autopilot/configuration", q)
	return out, err
}

// SetAutopilotConfiguration changes that if its ModifyIndex is still cas; false
// says that it is not.
func (o Operator) SetAutopilotConfiguration(ctx context.Context, cfg *structs.AutopilotConfiguration, cas uint64) (bool, error) {
	done := false
	_, err := o.c.Put(ctx, "/v1/operator/autopilot/configuration", cfg, &done, (&WriteOptions{}).with(map[string]string{"cas": strconv.FormatUint(cas, 10)}))
	return done, err
}

// AutopilotHealth returns the health of the servers, also when it is bad.
func (o Operator) AutopilotHealth(ctx context.Context, q *QueryOptions) (*OperatorHealthReply, error) {
	out := &OperatorHealthReply{}
	_, err := o.c.Get(ctx, "/v1/operator/autopilot/health", out, q)
	var bad *ResponseError
	if errors.As(err, &bad) && bad.Code == http.StatusTooManyRequests && json.Unmarshal([]byte(bad.Body), out) == nil {
		return out, nil
	}
	return out, err
}

// Snapshot returns the state of the cluster as an archive, with its digest; the
// caller closes it.
func (o Operator) Snapshot(ctx context.Context, stale bool) (body io.ReadCloser, digest string, err error) {
	resp, err := o.c.do(ctx, http.MethodGet, "/v1/operator/snapshot", (&QueryOptions{AllowStale: stale}).values(o.c), nil, "")
	if err != nil {
		return nil, "", err
	}
	return resp.Body, resp.Header.Get("Digest"), nil
}

// SnapshotRestore replaces the state of the cluster by that of an archive.
func (o Operator) SnapshotRestore(ctx context.Context, archive io.Reader) error {
	resp, err := o.c.do(ctx, http.MethodPut, "/v1/operator/snapshot", nil, archive, "")
	if err != nil {
		return err
	}
	drain(resp.Body)
	return nil
}

// SchedulerConfiguration returns the setting of the schedulers.
func (o Operator) SchedulerConfiguration(ctx context.Context, q *QueryOptions) (*SchedulerConfigurationResponse, *QueryMeta, error) {
	return get[*SchedulerConfigurationResponse](ctx, o.c, "/v1/operator/scheduler/configuration", q)
}

// SetSchedulerConfiguration replaces the setting of the schedulers; the
// parameter "cas" makes it conditional on the ModifyIndex.
func (o Operator) SetSchedulerConfiguration(ctx context.Context, cfg *structs.SchedulerConfiguration, w *WriteOptions) (*SchedulerSetConfigurationResponse, *WriteMeta, error) {
	return put[*SchedulerSetConfigurationResponse](ctx, o.c, "/v1/operator/scheduler/configuration", cfg, w)
}
