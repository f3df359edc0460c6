package base

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/nomadlite/nomadlite/plugins/hclspec"
	"github.com/nomadlite/nomadlite/plugins/proto/basepb"
)

// GRPCPlugin is the "base" entry of a go-plugin set. Impl is set in the plugin
// process and nil in the host.
type GRPCPlugin struct {
	plugin.NetRPCUnsupportedPlugin
	Impl Plugin
}

// GRPCServer registers the plugin's side.
func (p *GRPCPlugin) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	basepb.RegisterBasePluginServer(s, &server{impl: p.Impl})
	return nil
}

// GRPCClient makes the host's side, a *Client.
func (p *GRPCPlugin) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return NewClient(conn), nil
}

// server answers the RPCs of the base service from a Plugin.
type server struct {
	basepb.UnimplementedBasePluginServer
	impl Plugin
}

func (s *server) PluginInfo(ctx context.Context, _ *basepb.PluginInfoRequest) (*basepb.PluginInfoResponse, error) {
	info, err := s.impl.PluginInfo(ctx)
	if err != nil {
		return nil, err
	}
	out := &basepb.PluginInfoResponse{
		PluginApiVersions: info.APIVersions,
		PluginVersion:     info.Version,
		Name:              info.Name,
	}
	switch info.Type {
	case TypeDriver:
		out.Type = basepb.PluginType_DRIVER
	case TypeDevice:
		out.Type = basepb.PluginType_DEVICE
	default:
		return nil, fmt.Errorf("cannot tell the host of plugin type %q: use %q or %q", info.Type, TypeDriver, TypeDevice)
	}
	return out, nil
}

func (s *server) ConfigSchema(ctx context.Context, _ *basepb.ConfigSchemaRequest) (*basepb.ConfigSchemaResponse, error) {
	spec, err := s.impl.ConfigSchema(ctx)
	if err != nil {
		return nil, err
	}
	return &basepb.ConfigSchemaResponse{Spec: spec}, nil
}

func (s *server) SetConfig(ctx context.Context, req *basepb.SetConfigRequest) (*basepb.SetConfigResponse, error) {
	config := &Config{
		Msgpack:    req.GetMsgpackConfig(),
		APIVersion: req.GetPluginApiVersion(),
		Agent:      agentFromProto(req.GetNomadConfig().GetDriver()),
	}
	if err := s.impl.SetConfig(ctx, config); err != nil {
		return nil, err
	}
	return &basepb.SetConfigResponse{}, nil
}

// Client is a Plugin in another process. Its errors are the remote texts.
type Client struct {
	rpc basepb.BasePluginClient
}

// NewClient makes the host's side of the base service on a connection.
func NewClient(conn grpc.ClientConnInterface) *Client {
	return &Client{rpc: basepb.NewBasePluginClient(conn)}
}

// PluginInfo asks the plugin who it is. An unknown type is an error.
func (c *Client) PluginInfo(ctx context.Context) (*Info, error) {
	resp, err := c.rpc.PluginInfo(ctx, &basepb.PluginInfoRequest{})
	if err != nil {
		return nil, RemoteError(ctx, err)
	}
	info := &Info{APIVersions: resp.GetPluginApiVersions(), Version: resp.GetPluginVersion(), Name: resp.GetName()}
	switch resp.GetType() {
	case basepb.PluginType_DRIVER:
		info.Type = TypeDriver
	case basepb.PluginType_DEVICE:
		info.Type = TypeDevice
	default:
		return nil, fmt.Errorf("plugin %q is of unknown type %d", info.Name, resp.GetType())
	}
	return info, nil
}

// ConfigSchema asks for the schema of the plugin's configuration.
func (c *Client) ConfigSchema(ctx context.Context) (*hclspec.Spec, error) {
	resp, err := c.rpc.ConfigSchema(ctx, &basepb.ConfigSchemaRequest{})
	if err != nil {
		return nil, RemoteError(ctx, err)
	}
	return resp.GetSpec(), nil
}

// SetConfig configures the plugin.
func (c *Client) SetConfig(ctx context.Context, config *Config) error {
	req := &basepb.SetConfigRequest{MsgpackConfig: config.Msgpack, PluginApiVersion: config.APIVersion}
	if config.Agent != nil {
		req.NomadConfig = &basepb.NomadConfig{Driver: agentToProto(config.Agent)}
	}
	if _, err := c.rpc.SetConfig(ctx, req); err != nil {
		return RemoteError(ctx, err)
	}
	return nil
}

// RemoteError strips gRPC's wrapping from the plugin's text; the end of the
// caller's own context stays what it is.
func RemoteError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s, ok := status.FromError(err)
	if !ok || s.Code() == codes.Unavailable {
		return err
	}
	return errors.New(s.Message())
}
