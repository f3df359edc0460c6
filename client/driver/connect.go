package driver

import (
	"context"
	"fmt"

	"github.com/nomadlite/nomadlite/plugins/base"
	"github.com/nomadlite/nomadlite/plugins/device"
	plugin "github.com/nomadlite/nomadlite/plugins/driver"
	"github.com/nomadlite/nomadlite/plugins/hclspec"
)

// connect has the keeper start the process, or find the live one, and
// configures it. One that cannot be configured is ended.
func (m *Manager) connect(ctx context.Context, spec Spec) (*base.Process, *base.Info, error) {
	limited, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	proc, err := start(limited, m.cfg, spec)
	if err != nil {
		return nil, nil, err
	}
	info, err := m.configure(limited, spec, base.NewClient(proc.Conn()))
	if err != nil {
		_ = proc.Disconnect()
		if ctx.Err() == nil { // the agent does not end
			m.end(ctx, spec)
		}
		return nil, nil, err
	}
	return proc, info, nil
}

// end ends the process of a plugin that cannot be used: the next try is with a
// new one. Tasks of an earlier use live on.
func (m *Manager) end(ctx context.Context, spec Spec) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := m.cfg.Keeper.Client().StopPlugin(ctx, spec.Name); err != nil {
		m.cfg.Logger.Warn("cannot end a plugin that cannot be used", "plugin", spec.Name, "error", err)
	}
}

// configure asks the plugin what it is and hands it its configuration.
func (m *Manager) configure(ctx context.Context, spec Spec, p *base.Client) (*base.Info, error) {
	info, err := p.PluginInfo(ctx)
	if err != nil {
		return nil, err
	}
	if err := base.CheckVersion(info.Version); err != nil {
		return nil, fmt.Errorf("plugin %q: %w", spec.Name, err)
	}
	speaks, agent := plugin.APIVersion, &m.cfg.Agent
	if info.Type == base.TypeDevice {
		if !spec.External || m.cfg.Device == nil {
			return nil, fmt.Errorf("plugin %q is a device plugin, not a driver", spec.Name)
		}
		speaks, agent = device.APIVersion, nil
	}
	if err := m.claim(spec, identity{info.Type, info.Name}); err != nil {
		return nil, err
	}
	version, err := base.NegotiateVersion([]string{speaks}, info.APIVersions)
	if err != nil {
		return nil, err
	}
	raw, err := encodeConfig(ctx, p, spec)
	if err != nil {
		return nil, err
	}
	if err := p.SetConfig(ctx, &base.Config{Msgpack: raw, APIVersion: version, Agent: agent}); err != nil {
		return nil, fmt.Errorf("plugin %q refuses its configuration: %w", spec.Name, err)
	}
	return info, nil
}

// driverOf makes a driver ready for use and reads what it can do.
func (m *Manager) driverOf(ctx context.Context, proc *base.Process) (*Instance, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	inst := &Instance{Process: plugin.Attach(proc)}
	if err := inst.Init(ctx); err != nil {
		return nil, err
	}
	caps, err := inst.Process.Client.Capabilities(ctx)
	if err != nil {
		return nil, err
	}
	inst.Capabilities = *caps
	schema, err := inst.TaskConfigSchema(ctx)
	if err != nil {
		return nil, err
	}
	inst.Schema, err = hclspec.Compile(schema)
	return inst, err
}

// CheckConfig checks the configuration of a plugin of our own without a process:
// by its schema, and by what the plugin says of it.
func CheckConfig(ctx context.Context, name string, p base.Plugin, config map[string]any) error {
	raw, err := encodeConfig(ctx, p, Spec{Name: name, Config: config})
	if err != nil {
		return err
	}
	if err := p.SetConfig(ctx, &base.Config{Msgpack: raw}); err != nil {
		return fmt.Errorf("cannot configure plugin %q: %w", name, err)
	}
	return nil
}

// encodeConfig decodes the plugin block by the plugin's schema.
func encodeConfig(ctx context.Context, p interface {
	ConfigSchema(ctx context.Context) (*hclspec.Spec, error)
}, spec Spec) ([]byte, error) {
	schema, err := p.ConfigSchema(ctx)
	if err != nil {
		return nil, err
	}
	if schema == nil || schema.GetBlock() == nil {
		if len(spec.Config) > 0 {
			return nil, fmt.Errorf("configuration not allowed: plugin %q takes none", spec.Name)
		}
		return nil, nil
	}
	compiled, err := hclspec.Compile(schema)
	if err != nil {
		return nil, err
	}
	raw, err := compiled.Decode(spec.Config, nil)
	if err != nil {
		return nil, fmt.Errorf("cannot configure plugin %q: %w", spec.Name, err)
	}
	return raw, nil
}
