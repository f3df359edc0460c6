package driver

import (
	"context"
	"time"

	"github.com/nomadlite/nomadlite/plugins/base"
)

// shutdownTimeout is how long Kill waits for Shutdown: the contract's number.
const shutdownTimeout = 2 * time.Second

// Process is a driver's process and the connection to it.
type Process struct {
	*Client
	*base.Process
}

// Launch starts a driver's process and connects to it. ctx bounds the start
// alone. Errors name the binary; nothing is left behind.
func Launch(ctx context.Context, config base.LaunchConfig) (*Process, error) {
	p, err := base.Launch(ctx, config)
	if err != nil {
		return nil, err
	}
	return Attach(p), nil
}

// Attach speaks to a plugin's process as to a driver.
func Attach(p *base.Process) *Process { return &Process{NewClient(p.Conn(), p.Done()), p} }

// Done is closed when the plugin process has ended.
func (p *Process) Done() <-chan struct{} { return p.Process.Done() }

// Kill tells the driver (Shutdown, at most 2 s) and ends its process as
// base.Process.Kill does.
func (p *Process) Kill() {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	_ = p.Shutdown(ctx) // a driver that fails here is killed all the same
	p.Process.Kill()
}
