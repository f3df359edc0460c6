package api

import (
	"context"

	"github.com/nomadlite/nomadlite/structs"
)

// HostVolumeRequest makes or registers a dynamic host volume.
type HostVolumeRequest struct{ Volume *structs.HostVolume }

// HostVolumeResponse is the volume as it is stored.
type HostVolumeResponse struct {
	Volume   *structs.HostVolume
	Warnings string `json:",omitempty"`
}

// volumeBody bounds a volume's JSON.
const volumeBody = 256 << 10

func volumeRoutes() []Route {
	return []Route{
		list("volume.list", "/v1/volumes", "ns:host-volume-read", ListNamespaced, "List volumes of a type; node_id and node_pool are filters of their own.").filtered(),
		read("volume.read", "/v1/volume/host/:id", "ns:host-volume-read", "Read a dynamic host volume with the allocations that use it.").ofObject(),
		write("volume.create", "/v1/volume/host/create", "ns:host-volume-create", "Make a dynamic host volume on a node that fits.").ofObject().limit(volumeBody),
		write("volume.register", "/v1/volume/host/register", "ns:host-volume-register", "Register a volume that stands on its node.").ofObject().limit(volumeBody),
		write("volume.delete", "/v1/volume/host/:id", "ns:host-volume-delete", "Delete a dynamic host volume that nothing uses.").methods("DELETE"),
	}
}

// HostVolumes calls the routes of dynamic host volumes.
type HostVolumes struct{ c *Client }

// HostVolumes returns the routes of dynamic host volumes.
func (c *Client) HostVolumes() HostVolumes { return HostVolumes{c} }

// List returns volumes; node and pool are filters, "" for all.
func (v HostVolumes) List(ctx context.Context, node, pool string, q *QueryOptions) ([]*structs.HostVolumeStub, *QueryMeta, error) {
	q = q.with("type", "host").with("node_id", node).with("node_pool", pool)
	return get[[]*structs.HostVolumeStub](ctx, v.c, "/v1/volumes", q)
}

// Get returns a volume with the allocations that use it.
func (v HostVolumes) Get(ctx context.Context, id string, q *QueryOptions) (*structs.HostVolume, *QueryMeta, error) {
	return get[*structs.HostVolume](ctx, v.c, "/v1/volume/host/"+Escape(id), q)
}

// Create makes a volume, with register takes one that stands on its node.
func (v HostVolumes) Create(ctx context.Context, volume *structs.HostVolume, register bool, w *WriteOptions) (*structs.HostVolume, *WriteMeta, error) {
	path := "/v1/volume/host/create"
	if register {
		path = "/v1/volume/host/register"
	}
	out, meta, err := put[*HostVolumeResponse](ctx, v.c, path, &HostVolumeRequest{Volume: volume}, w)
	if err != nil {
		return nil, meta, err
	}
	return out.Volume, meta, nil
}

// Delete removes a volume that nothing uses.
func (v HostVolumes) Delete(ctx context.Context, id string, w *WriteOptions) (*WriteMeta, error) {
	return v.c.Delete(ctx, "/v1/volume/host/"+Escape(id), nil, w)
}
