package docker

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/system"
	"github.com/docker/docker/client"
)

// engine is a Docker engine as the driver asks it. An engine may take a request
// and never answer: each call that is not a stream ends after a time, so that a
// task's start, stop or removal fails with a sentence, may be tried again, and
// holds nothing else up.
type engine struct {
	*client.Client
	patience time.Duration // with a call that is not expected to take long
}

// Limits of how long the engine may take.
const (
	callTimeout  = 30 * time.Second
	probeTimeout = 10 * time.Second // of the fingerprint's calls
	workFactor   = 4                // of what makes or removes a container
)

// silentError says that the engine took a request and did not answer.
type silentError struct{ after time.Duration }

func (e *silentError) Error() string {
	return fmt.Sprintf("the docker engine did not answer within %s: if it hangs, restart it (containers go on where live-restore is set)", e.after)
}

// Is makes it a timeout for those who care about no more.
func (e *silentError) Is(target error) bool { return target == context.DeadlineExceeded }

// within calls the engine and gives up after a time.
func within[T any](ctx context.Context, limit time.Duration, call func(context.Context) (T, error)) (T, error) {
	silent := &silentError{limit}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, silent)
	defer cancel()
	out, err := call(ctx)
	if err != nil && errors.Is(context.Cause(ctx), silent) {
		err = silent
	}
	return out, err
}

// dial makes a client of the engine; nothing is sent yet.
func dial(site *pluginConfig) (*engine, error) {
	options := []client.Opt{client.WithAPIVersionNegotiation()}
	endpoint := site.Endpoint
	if endpoint == "" {
		endpoint = os.Getenv("DOCKER_HOST")
	}
	if t := site.TLS; t != nil && (t.CA != "" || t.Cert != "") {
		options = append(options, client.WithTLSClientConfig(t.CA, t.Cert, t.Key))
	}
	if endpoint != "" {
		options = append(options, client.WithHost(endpoint))
	}
	c, err := client.NewClientWithOpts(append(options, smallBuffers)...)
	if err != nil {
		return nil, fmt.Errorf("cannot use the docker endpoint %q: %w", endpoint, err)
	}
	return &engine{c, callTimeout}, nil
}

// streamBuffer is what a connection buffers each way, in bytes: each container's
// output is a connection of its own, and most say little.
const streamBuffer = 1 << 10

// smallBuffers makes the connections of a client small.
func smallBuffers(c *client.Client) error {
	if t, ok := c.HTTPClient().Transport.(*http.Transport); ok {
		t.ReadBufferSize, t.WriteBufferSize = streamBuffer, streamBuffer
	}
	return nil
}

// Info overrides the client's: it may take as long as a probe.
func (e *engine) Info(ctx context.Context) (system.Info, error) {
	return within(ctx, min(probeTimeout, e.patience), e.Client.Info)
}

// ImageInspect overrides the client's.
func (e *engine) ImageInspect(ctx context.Context, name string) (image.InspectResponse, error) {
	return within(ctx, e.patience, func(ctx context.Context) (image.InspectResponse, error) { return e.Client.ImageInspect(ctx, name) })
}

// ImageRemove overrides the client's.
func (e *engine) ImageRemove(ctx context.Context, id string, options image.RemoveOptions) ([]image.DeleteResponse, error) {
	return within(ctx, workFactor*e.patience, func(ctx context.Context) ([]image.DeleteResponse, error) {
		return e.Client.ImageRemove(ctx, id, options)
	})
}

// ContainerInspect overrides the client's.
func (e *engine) ContainerInspect(ctx context.Context, id string) (container.InspectResponse, error) {
	return within(ctx, e.patience, func(ctx context.Context) (container.InspectResponse, error) {
		return e.Client.ContainerInspect(ctx, id)
	})
}

// ContainerStart overrides the client's.
func (e *engine) ContainerStart(ctx context.Context, id string, options container.StartOptions) error {
	return e.work(ctx, workFactor*e.patience, func(ctx context.Context) error { return e.Client.ContainerStart(ctx, id, options) })
}

// ContainerStop overrides the client's: it may take its timeout, and then as
// long as any call.
func (e *engine) ContainerStop(ctx context.Context, id string, options container.StopOptions) error {
	limit := e.patience
	if options.Timeout != nil {
		limit += time.Duration(*options.Timeout) * time.Second
	}
	return e.work(ctx, limit, func(ctx context.Context) error { return e.Client.ContainerStop(ctx, id, options) })
}

// ContainerKill overrides the client's.
func (e *engine) ContainerKill(ctx context.Context, id, signal string) error {
	return e.work(ctx, e.patience, func(ctx context.Context) error { return e.Client.ContainerKill(ctx, id, signal) })
}

// ContainerUnpause overrides the client's.
func (e *engine) ContainerUnpause(ctx context.Context, id string) error {
	return e.work(ctx, e.patience, func(ctx context.Context) error { return e.Client.ContainerUnpause(ctx, id) })
}

// ContainerRemove overrides the client's.
func (e *engine) ContainerRemove(ctx context.Context, id string, options container.RemoveOptions) error {
	return e.work(ctx, workFactor*e.patience, func(ctx context.Context) error { return e.Client.ContainerRemove(ctx, id, options) })
}

// ContainerExecCreate overrides the client's.
func (e *engine) ContainerExecCreate(ctx context.Context, id string, options container.ExecOptions) (container.ExecCreateResponse, error) {
	return within(ctx, e.patience, func(ctx context.Context) (container.ExecCreateResponse, error) {
		return e.Client.ContainerExecCreate(ctx, id, options)
	})
}

// ContainerExecInspect overrides the client's.
func (e *engine) ContainerExecInspect(ctx context.Context, id string) (container.ExecInspect, error) {
	return within(ctx, e.patience, func(ctx context.Context) (container.ExecInspect, error) {
		return e.Client.ContainerExecInspect(ctx, id)
	})
}

// work is within for calls that answer nothing.
func (e *engine) work(ctx context.Context, limit time.Duration, call func(context.Context) error) error {
	_, err := within(ctx, limit, func(ctx context.Context) (struct{}, error) { return struct{}{}, call(ctx) })
	return err
}
