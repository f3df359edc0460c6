package service

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/nomadlite/nomadlite/client/alloc"
	"github.com/nomadlite/nomadlite/client/check"
	"github.com/nomadlite/nomadlite/client/taskenv"
	"github.com/nomadlite/nomadlite/structs"
)

// owned is a service with its owner: task is "" for a service of the group.
type owned struct {
	task string
	spec *structs.Service
}

// builtIn lists the services of the built-in provider of a group.
func builtIn(g *structs.TaskGroup) []owned {
	var out []owned
	for _, s := range g.Services {
		if s.Provider == structs.ServiceProviderNomad {
			out = append(out, owned{"", s})
		}
	}
	for _, t := range g.Tasks {
		for _, s := range t.Services {
			if s.Provider == structs.ServiceProviderNomad {
				out = append(out, owned{t.Name, s})
			}
		}
	}
	return out
}

// register makes the registration of a service.
func register(a *alloc.Alloc, o owned, env *taskenv.Env) (*structs.ServiceRegistration, error) {
	s := o.spec
	label := env.Replace(s.PortLabel)
	at, err := where(a, o.task, s.AddressMode, env.Replace(s.Address), label)
	if err != nil {
		return nil, fmt.Errorf("cannot register service %q: %w", s.Name, err)
	}
	tags := s.Tags
	if d := a.Alloc.DeploymentStatus; d != nil && d.Canary && len(s.CanaryTags) > 0 {
		tags = s.CanaryTags
	}
	owner := o.task
	if owner == "" {
		owner = "group-" + a.Group.Name
	}
	name := env.Replace(s.Name)
	reg := &structs.ServiceRegistration{
		ID:          "_nomad-task-" + a.Alloc.ID + "-" + owner + "-" + name + "-" + label,
		ServiceName: name, Namespace: a.Alloc.Namespace, NodeID: a.Node.ID, Datacenter: a.Node.Datacenter,
		JobID: a.Alloc.JobID, AllocID: a.Alloc.ID, Address: at.host, Port: at.port,
	}
	for _, tag := range tags {
		reg.Tags = append(reg.Tags, env.Replace(tag))
	}
	return reg, reg.Validate()
}

// probe makes the probe of a check of a service.
func probe(a *alloc.Alloc, o owned, c *structs.ServiceCheck, env *taskenv.Env) (check.Probe, error) {
	kind := strings.ToLower(env.Replace(c.Type))
	if kind == "script" {
		return script(a, o, c, env)
	}
	mode, label := c.AddressMode, c.PortLabel
	if mode == "" {
		mode = o.spec.AddressMode
	}
	if label == "" {
		label = o.spec.PortLabel
	}
	at, err := where(a, o.task, mode, env.Replace(o.spec.Address), env.Replace(label))
	if err == nil && at.port == 0 {
		err = fmt.Errorf("it has no port")
	}
	if err != nil {
		return nil, fmt.Errorf("cannot run check %q of service %q: %w", c.Name, o.spec.Name, err)
	}
	address := hostPort(at)
	switch kind {
	case "tcp":
		return check.TCP{Address: address}, nil
	case "grpc":
		return check.GRPC{Address: address, Service: env.Replace(c.GRPCService), UseTLS: c.GRPCUseTLS, SkipVerify: c.TLSSkipVerify, ServerName: c.TLSServerName}, nil
	case "http":
		header := map[string][]string{}
		for key, values := range c.Header {
			for _, v := range values {
				header[key] = append(header[key], env.Replace(v))
			}
		}
		return check.HTTP{
			URL:    check.JoinURL(env.Replace(c.Protocol), at.host, at.port, env.Replace(c.Path)),
			Method: env.Replace(c.Method), Body: c.Body, Header: header, SkipVerify: c.TLSSkipVerify, ServerName: c.TLSServerName,
		}, nil
	}
	return nil, fmt.Errorf("cannot run check %q of service %q: no such type %q", c.Name, o.spec.Name, kind)
}

// script makes the probe that runs a command in a task.
func script(a *alloc.Alloc, o owned, c *structs.ServiceCheck, env *taskenv.Env) (check.Probe, error) {
	name := c.TaskName
	for _, other := range []string{o.spec.TaskName, o.task} {
		if name == "" {
			name = other
		}
	}
	t := a.Task(name)
	if t == nil {
		return nil, fmt.Errorf("cannot run check %q of service %q: the group has no task %q", c.Name, o.spec.Name, name)
	}
	argv := []string{env.Replace(c.Command)}
	for _, arg := range c.Args {
		argv = append(argv, env.Replace(arg))
	}
	return check.Script{Run: func(ctx context.Context) (string, int, error) {
		r, err := t.Exec(ctx, argv, c.Timeout)
		if err != nil {
			return "", 0, err
		}
		code := int(r.Exit.ExitCode)
		if code == 0 && r.Exit.Signal != 0 {
			code = 128 + int(r.Exit.Signal)
		}
		return string(r.Stdout) + string(r.Stderr), code, nil
	}}, nil
}

// checkID names a check of a registration; it stays over restarts.
func checkID(reg *structs.ServiceRegistration, c *structs.ServiceCheck) string {
	sum := sha256.Sum256([]byte(reg.ID + "\x00" + c.Name))
	return hex.EncodeToString(sum[:16])
}

// initial is the status of a check that has not looked yet.
func initial(c *structs.ServiceCheck) string {
	switch c.InitialStatus {
	case "passing":
		return check.Success
	case "critical":
		return check.Failure
	}
	return check.Pending
}

// Modes of checks: whether deployments wait for them.
const (
	healthiness = "healthiness"
	readiness   = "readiness"
)

func modeOf(c *structs.ServiceCheck) string {
	if c.OnUpdate == "ignore" {
		return readiness
	}
	return healthiness
}

// streak decides when a check restarts its task: it counts failures in a row,
// from the end of the grace on. Pending counts as failing.
type streak struct{ count int }

// next takes a result and reports whether the task shall restart now.
func (s *streak) next(rule *structs.CheckRestart, status string, began, now time.Time) bool {
	if rule == nil || rule.Limit <= 0 {
		return false
	}
	if status == check.Success {
		s.count = 0
		return false
	}
	if now.Before(began.Add(structs.Val(rule.Grace))) {
		return false
	}
	s.count++
	if s.count < rule.Limit {
		return false
	}
	s.count = 0
	return true
}
