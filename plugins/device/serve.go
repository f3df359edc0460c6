package device

import (
	"context"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/nomadlite/nomadlite/plugins/base"
	"github.com/nomadlite/nomadlite/plugins/proto/devicepb"
)

// GRPCPlugin is the "device" entry of a go-plugin set. Impl is set in the
// plugin process and nil in the host.
type GRPCPlugin struct {
	plugin.NetRPCUnsupportedPlugin
	Impl Device
}

// GRPCServer registers the plugin's side.
func (p *GRPCPlugin) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	devicepb.RegisterDevicePluginServer(s, &server{impl: p.Impl})
	return nil
}

// GRPCClient makes the host's side, a *Client.
func (p *GRPCPlugin) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return NewClient(conn), nil
}

// PluginSet is what a device plugin's process serves.
func PluginSet(impl Device) plugin.PluginSet {
	return plugin.PluginSet{
		base.KeyBase:   &base.GRPCPlugin{Impl: impl},
		base.KeyDevice: &GRPCPlugin{Impl: impl},
	}
}

// Serve is the main function of a device plugin: see base.Serve.
func Serve(newDevice func(hclog.Logger) Device) {
	base.Serve(func(log hclog.Logger) plugin.PluginSet { return PluginSet(newDevice(log)) })
}

// server answers the RPCs of the device service from a Device.
type server struct {
	devicepb.UnimplementedDevicePluginServer
	impl Device
}

// Fingerprint implements devicepb.DevicePluginServer.
func (s *server) Fingerprint(_ *devicepb.FingerprintRequest, stream grpc.ServerStreamingServer[devicepb.FingerprintResponse]) error {
	return s.impl.Fingerprint(stream.Context(), func(groups []*Group) error { return stream.Send(groupsToProto(groups)) })
}

// Reserve implements devicepb.DevicePluginServer.
func (s *server) Reserve(ctx context.Context, req *devicepb.ReserveRequest) (*devicepb.ReserveResponse, error) {
	r, err := s.impl.Reserve(ctx, req.GetDeviceIds())
	if err != nil {
		return nil, err
	}
	return &devicepb.ReserveResponse{ContainerRes: reservationToProto(r)}, nil
}

// Stats implements devicepb.DevicePluginServer.
func (s *server) Stats(req *devicepb.StatsRequest, stream grpc.ServerStreamingServer[devicepb.StatsResponse]) error {
	return s.impl.Stats(stream.Context(), req.GetCollectionInterval().AsDuration(), func(groups []*GroupStats) error {
		return stream.Send(statsToProto(groups))
	})
}
