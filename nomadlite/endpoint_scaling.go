package nomadlite

import (
	"context"
	"crypto/sha256"
	"fmt"
	"iter"
	"strings"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// Scaling policies are the scaling blocks of the groups of jobs: they are no
// nouns of their own. The id of one follows from its job and group.

// scalingPolicyID is a UUID that depends on the target alone.
func scalingPolicyID(ns, job, group string) string {
	sum := sha256.Sum256([]byte("scaling\x00" + ns + "\x00" + job + "\x00" + group))
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[0:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}

func policyNamespace(p *api.ScalingPolicy) string { return p.Namespace }

// scalingPolicies are those of the jobs that are not stopped.
func scalingPolicies(jobs iter.Seq[*structs.Job]) iter.Seq[*api.ScalingPolicy] {
	return func(yield func(*api.ScalingPolicy) bool) {
		for job := range jobs {
			for _, g := range job.TaskGroups {
				if g.Scaling == nil || job.Stop {
					continue
				}
				s := g.Scaling
				p := &api.ScalingPolicy{
					ID: scalingPolicyID(job.Namespace, job.ID, g.Name), Namespace: job.Namespace, Type: s.Type, Min: s.Min, Max: s.Max,
					Policy: s.Policy, Enabled: s.Enabled, CreateIndex: job.CreateIndex, ModifyIndex: job.JobModifyIndex,
					Target: map[string]string{"Namespace": job.Namespace, "Job": job.ID, "Group": g.Name},
				}
				if !yield(p) {
					return
				}
			}
		}
	}
}

func policyStub(p *api.ScalingPolicy) *api.ScalingPolicyStub {
	return &api.ScalingPolicyStub{ID: p.ID, Enabled: p.Enabled == nil || *p.Enabled, Type: p.Type, Target: p.Target, CreateIndex: p.CreateIndex, ModifyIndex: p.ModifyIndex}
}

func policiesIndex(s *state.Snapshot) uint64 { return max(1, s.TableIndex(state.TableJobs)) }

// listScalingPolicies lists them, by job and by prefix of their type.
func (e *endpoints) listScalingPolicies(ctx context.Context, r *api.Request) (*api.Response, error) {
	job, kind := r.Values.Get("job"), r.Values.Get("type")
	keys, _ := tables(state.TableJobs)
	return e.read(ctx, r, view{
		keys: keys, index: policiesIndex,
		render: func(s *state.Snapshot) (*api.Response, error) {
			all := visible(r, scalingPolicies(s.Jobs("", "")), policyNamespace)
			chosen := filtered(all, func(p *api.ScalingPolicy) bool {
				return (job == "" || p.Target["Job"] == job) && strings.HasPrefix(p.Type, kind) && strings.HasPrefix(p.ID, r.Query.Prefix)
			})
			return page(api.List(r, "scaling policy", chosen, func(p *api.ScalingPolicy) api.Key {
				return api.Key{Namespace: p.Namespace, ID: p.ID, Index: p.CreateIndex}
			}, policyStub))
		},
	})
}

func (e *endpoints) readScalingPolicy(ctx context.Context, r *api.Request) (*api.Response, error) {
	keys, _ := tables(state.TableJobs)
	return e.read(ctx, r, view{
		keys: keys, index: policiesIndex,
		render: func(s *state.Snapshot) (*api.Response, error) {
			for p := range scalingPolicies(s.Jobs("", "")) {
				if p.ID != r.Param("id") {
					continue
				}
				if err := r.Authorize(p.Namespace); err != nil {
					return nil, err
				}
				return body(p)
			}
			return nil, notFound("policy")
		},
	})
}
