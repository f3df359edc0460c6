package docker

import (
	"context"
	"fmt"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"

	"github.com/nomadlite/nomadlite/plugins/driver"
)

// sandboxName names the container that holds a group's network.
func sandboxName(allocID string) string { return "nomad_init_" + allocID }

// CreateNetwork implements driver.NetworkManager: a container that does
// nothing holds the group's network namespace, without any network yet.
func (d *Driver) CreateNetwork(ctx context.Context, allocID, hostname string) (*driver.NetworkIsolationSpec, bool, error) {
	s, err := d.session()
	if err != nil {
		return nil, false, err
	}
	if spec := d.existingNetwork(ctx, s, allocID, hostname); spec != nil {
		return spec, false, nil
	}
	imageID, fetched, err := s.pulls.ensure(ctx, &pullRequest{
		image: s.conf().InfraImage, timeout: s.conf().infraTimeout, limit: "infra_image_pull_timeout", activity: s.conf().pullActivity,
		tell: func(string, map[string]string) {},
	})
	if err != nil {
		return nil, false, fmt.Errorf("cannot make the network of allocation %s: %w", allocID, err)
	}
	s.images.use(imageID, sandboxName(allocID), s.conf().InfraImage, fetched)
	id, err := d.createSandbox(ctx, s, allocID, hostname, imageID)
	if err != nil {
		s.images.release(imageID, sandboxName(allocID))
		return nil, false, err
	}
	spec, err := d.networkSpec(ctx, s, allocID, id, hostname)
	if err != nil {
		return nil, false, err
	}
	return spec, true, nil
}

func (d *Driver) createSandbox(ctx context.Context, s *session, allocID, hostname, imageID string) (string, error) {
	d.mu.Lock()
	node := d.nodeID
	d.mu.Unlock()
	spec := &created{
		name: sandboxName(allocID),
		config: &container.Config{Image: imageID, Hostname: hostname, Labels: map[string]string{
			labelAlloc: allocID, labelNode: node, labelSandbox: "true",
		}},
		host: &container.HostConfig{
			NetworkMode: "none", RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyUnlessStopped},
			LogConfig: container.LogConfig{Type: "none"}, CapDrop: []string{"ALL"}, SecurityOpt: []string{"no-new-privileges"},
		},
	}
	id, alive, err := d.create(ctx, s, spec, s.conf().ExistsAttempts)
	if err != nil {
		return "", err
	}
	if alive {
		return id, nil
	}
	if err := s.engine.ContainerStart(ctx, id, container.StartOptions{}); err != nil {
		_ = s.removeContainer(context.WithoutCancel(ctx), id)
		return "", engineError("start the network container of allocation "+allocID, err)
	}
	return id, nil
}

// existingNetwork is the network that an earlier call made; nil for none.
func (d *Driver) existingNetwork(ctx context.Context, s *session, allocID, hostname string) *driver.NetworkIsolationSpec {
	c, err := s.engine.ContainerInspect(ctx, sandboxName(allocID))
	if err != nil || c.State == nil || !c.State.Running || c.Config == nil || c.Config.Labels[labelAlloc] != allocID {
		return nil
	}
	spec, err := d.networkSpec(ctx, s, allocID, c.ID, hostname)
	if err != nil {
		return nil
	}
	s.images.use(c.Image, sandboxName(allocID), "", false)
	return spec
}

// networkSpec describes the namespace of a running network container.
func (d *Driver) networkSpec(ctx context.Context, s *session, allocID, id, hostname string) (*driver.NetworkIsolationSpec, error) {
	c, err := s.engine.ContainerInspect(ctx, id)
	if err != nil {
		return nil, engineError("look at the network container of allocation "+allocID, err)
	}
	if c.NetworkSettings == nil || c.NetworkSettings.SandboxKey == "" || c.State == nil || !c.State.Running {
		_ = s.removeContainer(context.WithoutCancel(ctx), id)
		return nil, driver.Recoverable(fmt.Errorf("the network container of allocation %s does not stay: does infra_image %q run?", allocID, s.conf().InfraImage))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.networks[allocID] = id
	spec := &driver.NetworkIsolationSpec{
		Mode: driver.NetworkGroup, Path: c.NetworkSettings.SandboxKey,
		Labels: map[string]string{sandboxContainer: id},
	}
	if hostname != "" {
		spec.Labels[sandboxHostname] = hostname
	}
	return spec, nil
}

// DestroyNetwork implements driver.NetworkManager.
func (d *Driver) DestroyNetwork(ctx context.Context, allocID string, spec *driver.NetworkIsolationSpec) error {
	s, err := d.session()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	id := sandboxName(allocID)
	c, err := s.engine.ContainerInspect(ctx, id)
	if err != nil && !cerrdefs.IsNotFound(err) {
		return engineError("look at the network container of allocation "+allocID, err)
	}
	if err == nil {
		if c.Config == nil || c.Config.Labels[labelAlloc] != allocID {
			return fmt.Errorf("cannot remove the network of allocation %s: container %s is not ours", allocID, id)
		}
		if err := s.removeContainer(ctx, c.ID); err != nil {
			return engineError("remove the network container of allocation "+allocID, err)
		}
		s.images.release(c.Image, id)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.networks, allocID)
	return nil
}

// Init implements driver.Lifecycle.
func (d *Driver) Init(context.Context) error { return nil }

// Shutdown implements driver.Lifecycle.
func (d *Driver) Shutdown(context.Context) error {
	d.Close()
	return nil
}
