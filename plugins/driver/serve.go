package driver

import (
	"context"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/nomadlite/nomadlite/plugins/base"
	"github.com/nomadlite/nomadlite/plugins/proto/driverpb"
)

// GRPCPlugin is the "driver" entry of a go-plugin set. Impl is set in the
// plugin process and nil in the host.
type GRPCPlugin struct {
	plugin.NetRPCUnsupportedPlugin
	Impl Driver
}

// GRPCServer registers the plugin's side.
func (p *GRPCPlugin) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	driverpb.RegisterDriverServer(s, &server{impl: p.Impl})
	return nil
}

// GRPCClient makes the host's side, a *Client. ctx ends with the process.
func (p *GRPCPlugin) GRPCClient(ctx context.Context, _ *plugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return NewClient(conn, ctx.Done()), nil
}

// PluginSet is what a driver's process serves.
func PluginSet(impl Driver) plugin.PluginSet {
	return plugin.PluginSet{
		base.KeyBase:   &base.GRPCPlugin{Impl: impl},
		base.KeyDriver: &GRPCPlugin{Impl: impl},
	}
}

// Serve is the main function of a driver's process: it serves the driver that
// make returns until the host ends it, then exits the process. Called outside
// of a plugin host it explains itself on standard error and exits with 1.
//
// The logger given to make writes JSON lines to standard error, which the host
// reads. The process outlives a host that died: a broken pipe is an error of
// the write and not the end.
func Serve(newDriver func(hclog.Logger) Driver) {
	base.Serve(func(log hclog.Logger) plugin.PluginSet { return PluginSet(newDriver(log)) })
}
