package structs

import (
	"fmt"
)

// validateAccess checks Vault, secrets and identities.
func (t *Task) validateAccess(p *problems) {
	if v := t.Vault; v != nil {
		p.oneOf("Unknown change mode", v.ChangeMode, "noop", "signal", "restart")
		if v.ChangeMode == "signal" && !KnownSignal(v.ChangeSignal) {
			p.add("vault change_signal %q is not a known signal", v.ChangeSignal)
		}
	}
	seen := map[string]bool{}
	for _, s := range t.Secrets {
		if seen[s.Name] {
			p.add("Duplicate secret %q", s.Name)
		}
		seen[s.Name] = true
		inner := p.child()
		s.validate(inner, t)
		p.nest(fmt.Sprintf("Secret %q validation failed", s.Name), inner)
	}
	names := map[string]bool{}
	for _, id := range append([]*WorkloadIdentity{t.Identity}, t.Identities...) {
		if id == nil {
			continue
		}
		if names[id.Name] {
			p.add("Duplicate identity %q", id.Name)
		}
		names[id.Name] = true
		inner := p.child()
		id.validate(inner)
		p.nest(fmt.Sprintf("Identity %q is invalid", id.Name), inner)
	}
}

func (s *Secret) validate(p *problems, t *Task) {
	if !secretName().MatchString(s.Name) {
		p.add("secret name %q is invalid: use letters, digits and underscores, at most 128", s.Name)
	}
	if s.Path == "" {
		p.add("secret path cannot be empty")
	}
	switch s.Provider {
	case "":
		p.add("secret provider cannot be empty")
	case "nomad", "vault":
		if len(s.Env) > 0 {
			p.add("provider %s does not use the env block", s.Provider)
		}
	default:
		if len(s.Config) > 0 {
			p.add("custom provider %q does not use the config block: use env", s.Provider)
		}
	}
	if s.Provider == "vault" && t.Vault == nil {
		p.add("provider vault requires the task to have a vault block")
	}
}

func (id *WorkloadIdentity) validate(p *problems) {
	if !identityName().MatchString(id.Name) {
		p.add("invalid name %q: use letters, digits, - and _, at most 128", id.Name)
	}
	for _, aud := range id.Audience {
		if aud == "" {
			p.add("an empty string is an invalid audience")
		}
	}
	p.oneOf("invalid change_mode", id.ChangeMode, "", "noop", "restart", "signal")
	switch {
	case id.ChangeMode == "signal" && id.ChangeSignal == "":
		p.add("change_signal must be specified when using change_mode=signal")
	case id.ChangeMode == "signal" && !KnownSignal(id.ChangeSignal):
		p.add("change_signal %q is not a known signal", id.ChangeSignal)
	case id.ChangeMode != "signal" && id.ChangeSignal != "":
		p.add("can only use change_signal=%q with change_mode=signal", id.ChangeSignal)
	}
	p.notNegative("ttl", id.TTL)
	if id.Name == DefaultIdentityName && id.TTL > 0 {
		p.add("ttl for default identity not yet supported: name the identity")
	}
	if id.Filepath != "" && !id.File {
		p.add("filepath %q needs file = true", id.Filepath)
	}
}
