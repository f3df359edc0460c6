package structs

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

var (
	serviceName   = pattern(`^(?i:[a-z0-9]|[a-z0-9][a-z0-9-]{0,61}[a-z0-9])$`)
	interpolation = pattern(`\$\{[^}]*\}`)
)

// validateServices checks the services of a group and of its tasks.
func (g *TaskGroup) validateServices(p *problems) {
	providers, order := map[string]bool{}, []string{}
	unique := map[string]bool{}
	note := func(s *Service, owner string) {
		if !providers[s.Provider] {
			providers[s.Provider] = true
			order = append(order, s.Provider)
		}
		key := s.Name + "\x00" + owner + "\x00" + s.PortLabel
		if unique[key] {
			p.add("Service %q on port %q is defined more than once in %s", s.Name, s.PortLabel, owner)
		}
		unique[key] = true
	}
	for _, s := range g.Services {
		note(s, "group "+g.Name)
		inner := p.child()
		s.validate(inner, g, nil)
		p.nest(fmt.Sprintf("Service %s validation failed", s.Name), inner)
	}
	for _, t := range g.Tasks {
		for _, s := range t.Services {
			note(s, "task "+t.Name)
			inner := p.child()
			s.validate(inner, g, t)
			p.nest(fmt.Sprintf("Task %s: service %s validation failed", t.Name, s.Name), inner)
		}
	}
	if len(order) > 1 {
		p.add("Multiple service providers used: task group services must use the same provider, found %s", strings.Join(order, ", "))
	}
}

// validate checks a service of group g, or of task t when it is not nil.
func (s *Service) validate(p *problems, g *TaskGroup, t *Task) {
	if plain := interpolation().ReplaceAllString(s.Name, "NOMAD-PLACEHOLDER"); !serviceName().MatchString(plain) && !(plain != s.Name && len(plain) > 63) {
		p.add("Service name must be valid per RFC 1123 and can contain only alphanumeric characters or dashes and must be no longer than 63 characters: %q", s.Name)
	}
	p.oneOf("invalid service provider", s.Provider, ServiceProviderConsul, ServiceProviderNomad)
	if s.Provider == ServiceProviderConsul {
		p.warn("service %q is registered with consul, so that it finds only nodes that have a Consul agent: set provider = \"nomad\" for the built-in services", s.Name)
	}
	s.validateAddress(p, t)
	p.oneOf("invalid service on_update", s.OnUpdate, "require_healthy", "ignore_warnings", "ignore")
	p.oneOf("invalid service kind", s.Kind, "", "api-gateway", "ingress-gateway", "mesh-gateway", "terminating-gateway")
	switch {
	case t != nil && s.TaskName != t.Name:
		p.add("Service %s is in task %s, so its task must be %s, not %s", s.Name, t.Name, t.Name, s.TaskName)
	case t == nil && s.TaskName != "" && g.LookupTask(s.TaskName) == nil:
		p.add("Service %s refers to task %q, which is not in the group", s.Name, s.TaskName)
	}
	if s.Identity != nil && len(s.Identity.Audience) == 0 {
		p.add("service identity must provide at least one target aud value")
	}
	if s.Connect != nil {
		s.Connect.validate(p, s, t)
	}
	if c := s.CheckRestart; c != nil {
		c.validate(p)
	}
	if t != nil && s.PortLabel != "" && !g.hasPort(t, s.PortLabel) {
		p.add("port label %q referenced by service %s does not exist: add it to a network block", s.PortLabel, s.Name)
	}
	names := map[string]bool{}
	for _, c := range s.Checks {
		if names[c.Name] {
			p.add("check %q is defined more than once", c.Name)
		}
		names[c.Name] = true
		inner := p.child()
		c.validate(inner, s, g, t)
		p.nest(fmt.Sprintf("Check %s validation failed", c.Name), inner)
	}
}

func (s *Service) validateAddress(p *problems, t *Task) {
	p.oneOf("invalid service address_mode", s.AddressMode, "auto", "host", "driver", "alloc", "alloc_ipv6")
	switch {
	case s.Address != "" && s.AddressMode != "auto":
		p.add("Service address_mode must be \"auto\" if address is set, is %q", s.AddressMode)
	case s.AddressMode == "driver" && t == nil:
		p.add("service address_mode \"driver\" is only allowed in task services")
	case strings.HasPrefix(s.AddressMode, "alloc") && t != nil:
		p.add("service address_mode %q is only allowed in group services", s.AddressMode)
	}
}

// hasPort reports whether label is a number or a port of the group or task.
func (g *TaskGroup) hasPort(t *Task, label string) bool {
	if _, err := strconv.ParseUint(label, 10, 16); err == nil || strings.Contains(label, "${") {
		return true
	}
	for _, n := range append(append([]*NetworkResource(nil), g.Networks...), t.Resources.Networks...) {
		for _, port := range append(append([]Port(nil), n.ReservedPorts...), n.DynamicPorts...) {
			if port.Label == label {
				return true
			}
		}
	}
	return false
}

func (c *CheckRestart) validate(p *problems) {
	if c.Limit < 0 {
		p.add("check_restart limit must be greater than or equal to 0 but found %d", c.Limit)
	}
	p.notNegative("check_restart grace", Val(c.Grace))
}

// validate checks one check of service s.
func (c *ServiceCheck) validate(p *problems, s *Service, g *TaskGroup, t *Task) {
	nomad := s.Provider == ServiceProviderNomad
	p.oneOf("invalid check type", strings.ToLower(c.Type), "http", "tcp", "grpc", "script")
	c.validateType(p, s, g, t)
	if c.Interval < time.Second {
		p.add("interval (%v) can not be lower than 1s", c.Interval)
	}
	if c.Timeout < time.Second {
		p.add("timeout (%v) is lower than required minimum 1s", c.Timeout)
	}
	p.oneOf("invalid initial check state", c.InitialStatus, "", "passing", "warning", "critical")
	p.oneOf("invalid check address_mode", c.AddressMode, "", "host", "driver", "alloc", "alloc_ipv6")
	if len(c.Notes) > 255 {
		p.add("notes must not be longer than 255 characters, is %d", len(c.Notes))
	}
	p.oneOf("invalid check on_update", c.OnUpdate, "require_healthy", "ignore_warnings", "ignore")
	c.validateRestart(p)
	if c.SuccessBeforePassing < 0 || c.FailuresBeforeCritical < 0 || c.FailuresBeforeWarning < 0 {
		p.add("success_before_passing, failures_before_critical and failures_before_warning must not be negative")
	}
	if !nomad {
		c.validateConsul(p, s)
		return
	}
	if c.AddressMode == "driver" || c.TLSServerName != "" || c.Expose {
		p.add("address_mode = \"driver\", tls_server_name and expose may only be used with consul services")
	}
	if c.SuccessBeforePassing > 0 || c.FailuresBeforeCritical > 0 || c.FailuresBeforeWarning > 0 {
		p.add("success_before_passing, failures_before_critical and failures_before_warning may only be used with consul services")
	}
}

// validateConsul checks what only checks of Consul have.
func (c *ServiceCheck) validateConsul(p *problems, s *Service) {
	kind := strings.ToLower(c.Type)
	if kind == "script" && (c.SuccessBeforePassing > 0 || c.FailuresBeforeCritical > 0 || c.FailuresBeforeWarning > 0) {
		p.add("success_before_passing, failures_before_critical and failures_before_warning may only be used with tcp, http and grpc checks")
	}
	if !c.Expose {
		return
	}
	if kind != "http" && kind != "grpc" {
		p.add("expose may only be used with http and grpc checks, not %q", c.Type)
	}
	if s.Connect == nil || s.Connect.SidecarService == nil {
		p.add("expose needs a sidecar_service in the connect block of service %s", s.Name)
	}
}

func (c *ServiceCheck) validateType(p *problems, s *Service, g *TaskGroup, t *Task) {
	switch strings.ToLower(c.Type) {
	case "http":
		if c.Path == "" {
			p.add("http type must have http path")
		} else if u, err := url.Parse(c.Path); err != nil {
			p.add("http type must have valid http path: %v", err)
		} else if u.IsAbs() {
			p.add("http type must have relative http path, is %q", c.Path)
		}
		p.oneOf("invalid check protocol", c.Protocol, "", "http", "https")
		if s.Provider == ServiceProviderNomad {
			p.oneOf("invalid check method", strings.ToUpper(c.Method), "", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE")
		}
	case "script":
		if c.Command == "" {
			p.add("script type must have a valid script path: set command")
		}
		if t == nil && c.TaskName == "" && s.TaskName == "" {
			p.add("script checks of a group service need task to be set")
		}
		return
	}
	if c.PortLabel == "" && s.PortLabel == "" {
		p.add("%s checks need a port on the check or its service", c.Type)
	}
	if c.TaskName != "" && g.LookupTask(c.TaskName) == nil {
		p.add("check refers to task %q, which is not in the group", c.TaskName)
	}
}

func (c *ServiceCheck) validateRestart(p *problems) {
	if c.CheckRestart == nil {
		return
	}
	c.CheckRestart.validate(p)
	switch {
	case c.OnUpdate == "ignore":
		p.add("on_update value \"ignore\" not supported with check_restart")
	case c.OnUpdate == "ignore_warnings" && !c.CheckRestart.IgnoreWarnings:
		p.add("on_update value \"ignore_warnings\" not supported with check_restart ignore_warnings value \"false\"")
	}
}

// validate checks a connect block. This build has no service mesh, so after
// the form it refuses the block by name.
func (c *ConsulConnect) validate(p *problems, s *Service, t *Task) {
	kinds := 0
	for _, given := range []bool{c.Native, c.SidecarService != nil, c.Gateway != nil} {
		if given {
			kinds++
		}
	}
	if kinds != 1 {
		p.add("Consul Connect must be exclusively native, make use of a sidecar, or represent a Gateway")
	}
	if t != nil {
		p.add("Consul Connect is only allowed in group services: move service %s out of task %s", s.Name, t.Name)
	}
	if s.Provider == ServiceProviderNomad {
		p.add("Service with provider nomad cannot include Connect blocks")
	}
	if c.Native && t == nil && s.TaskName == "" {
		p.add("Consul Connect Native service %s must name its task", s.Name)
	}
	if c.Gateway != nil {
		c.Gateway.validate(p)
	}
	if c.SidecarService != nil && c.SidecarService.Proxy != nil {
		for _, u := range c.SidecarService.Proxy.Upstreams {
			if m := u.MeshGateway; m != nil {
				p.oneOf("invalid mesh_gateway mode", m.Mode, "", "none", "local", "remote")
			}
		}
	}
	p.add("connect is not supported by this build: remove the connect block of service %s", s.Name)
}

func (g *ConsulGateway) validate(p *problems) {
	kinds := 0
	for _, given := range []bool{g.Ingress != nil, g.Terminating != nil, g.Mesh != nil} {
		if given {
			kinds++
		}
	}
	if kinds != 1 {
		p.add("One Consul Gateway Configuration must be set: ingress, terminating or mesh")
	}
	if g.Proxy != nil {
		p.oneOf("invalid envoy_dns_discovery_type", g.Proxy.EnvoyDNSDiscoveryType, "", "STRICT_DNS", "LOGICAL_DNS")
	}
	if g.Ingress == nil {
		return
	}
	for i, l := range g.Ingress.Listeners {
		if l.Port <= 0 || l.Port > 65535 {
			p.add("ingress listener %d requires a valid port, is %d", i+1, l.Port)
		}
		p.oneOf("invalid ingress listener protocol", l.Protocol, "tcp", "http", "http2", "grpc")
	}
}
