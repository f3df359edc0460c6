package device

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/nomadlite/nomadlite/plugins/base"
	"github.com/nomadlite/nomadlite/plugins/hclspec"
)

// fixed answers what the test gave it.
type fixed struct {
	groups []*Group
	stats  []*GroupStats
}

func (*fixed) PluginInfo(context.Context) (*base.Info, error) {
	return &base.Info{Type: base.TypeDevice, APIVersions: []string{APIVersion}, Version: "1.0.0", Name: "fixed"}, nil
}
func (*fixed) ConfigSchema(context.Context) (*hclspec.Spec, error) { return nil, nil }
func (*fixed) SetConfig(context.Context, *base.Config) error       { return ErrDisabled }

func (f *fixed) Fingerprint(_ context.Context, send func([]*Group) error) error {
	return send(f.groups)
}

func (*fixed) Reserve(_ context.Context, ids []string) (*Reservation, error) {
	if len(ids) == 0 {
		return nil, errors.New("nothing to reserve")
	}
	return &Reservation{
		Envs:    map[string]string{"IDS": strings.Join(ids, ",")},
		Mounts:  []*Mount{{TaskPath: "/lib/x", HostPath: "/usr/lib/x", ReadOnly: true}},
		Devices: []*Spec{{TaskPath: "/dev/x", HostPath: "/dev/null", Permissions: "rwm"}},
	}, nil
}

func (f *fixed) Stats(_ context.Context, _ time.Duration, send func([]*GroupStats) error) error {
	return send(f.stats)
}

// dial serves a device plugin on a socket and connects to it.
func dial(t *testing.T, impl Device) *Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	for _, p := range PluginSet(impl) {
		if err := p.(goplugin.GRPCPlugin).GRPCServer(nil, s); err != nil {
			t.Fatal(err)
		}
	}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return NewClient(conn)
}

func value[T any](v T) *T { return &v }

// TestTravels: all that a device plugin can say arrives as it was said.
func TestTravels(t *testing.T) {
	f := &fixed{
		groups: []*Group{{Vendor: "v", Type: "gpu", Name: "m/1", Devices: []*Detected{{ID: "0", Healthy: true, PCIBusID: "0000:03:00.0"}, {ID: "1", HealthDescription: "hot"}},
			Attributes: map[string]base.Attribute{
				"memory": base.IntAttribute(16, "GiB"), "clock": base.FloatAttribute(1.5, "GHz"), "driver": base.StringAttribute("1.2"), "ecc": base.BoolAttribute(false),
			}}},
		stats: []*GroupStats{{Vendor: "v", Type: "gpu", Name: "m/1", Instances: map[string]*Stats{"0": {
			Time:    time.Unix(1700000000, 5).UTC(),
			Summary: &StatValue{IntNumeratorVal: value(int64(3)), IntDenominatorVal: value(int64(16)), Unit: "GiB", Desc: "memory"},
			Stats: &StatObject{
				Attributes: map[string]*StatValue{"text": {StringVal: value("")}, "flag": {BoolVal: value(false)}, "share": {FloatNumeratorVal: value(0.5), FloatDenominatorVal: value(1.0)}},
				Nested:     map[string]*StatObject{"fan": {Attributes: map[string]*StatValue{"speed": {IntNumeratorVal: value(int64(0))}}, Nested: map[string]*StatObject{}}},
			},
		}}}},
	}
	c := dial(t, f)
	var groups []*Group
	if err := c.Fingerprint(t.Context(), func(g []*Group) error { groups = g; return nil }); err != nil || !reflect.DeepEqual(groups, f.groups) {
		t.Errorf("groups: %v %+v", err, groups)
	}
	var stats []*GroupStats
	if err := c.Stats(t.Context(), time.Second, func(g []*GroupStats) error { stats = g; return nil }); err != nil || !reflect.DeepEqual(stats, f.stats) {
		t.Errorf("stats: %v %+v", err, stats)
	}
	want, _ := f.Reserve(t.Context(), []string{"0", "1"})
	if got, err := c.Reserve(t.Context(), []string{"0", "1"}); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("reservation: %v %+v", err, got)
	}
	if _, err := c.Reserve(t.Context(), nil); err == nil || err.Error() != "nothing to reserve" {
		t.Errorf("reserve: %v", err)
	}
	if err := c.SetConfig(t.Context(), &base.Config{}); err == nil || err.Error() != ErrDisabled.Error() {
		t.Errorf("config: %v", err)
	}
	enough := errors.New("enough")
	if err := c.Fingerprint(t.Context(), func([]*Group) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("the end of the caller's own: %v", err)
	}
}

// TestFigures: a tree of figures without end is cut.
func TestFigures(t *testing.T) {
	o := &StatObject{}
	o.Nested = map[string]*StatObject{"again": o}
	depth := 0
	for at := objectFromProto(objectToProto(o, maxDepth), maxDepth); at != nil; at = at.Nested["again"] {
		depth++
	}
	if depth != maxDepth {
		t.Errorf("depth %d", depth)
	}
}

// TestBadFingerprints: what cannot be used is refused, by name.
func TestBadFingerprints(t *testing.T) {
	many := &Group{Vendor: "v", Type: "t", Name: "n"}
	for i := range maxDevices + 1 {
		many.Devices = append(many.Devices, &Detected{ID: fmt.Sprint(i)})
	}
	good := func() *Group { return &Group{Vendor: "v", Type: "t", Name: "n", Devices: []*Detected{{ID: "0"}}} }
	for name, tt := range map[string]struct {
		groups []*Group
		want   string
	}{
		"no vendor":      {[]*Group{{Type: "t", Name: "n"}}, "its vendor is 0 bytes long"},
		"no type":        {[]*Group{{Vendor: "v", Name: "n"}}, "its type is 0 bytes long"},
		"no name":        {[]*Group{{Vendor: "v", Type: "t"}}, "its name is 0 bytes long"},
		"no id":          {[]*Group{{Vendor: "v", Type: "t", Name: "n", Devices: []*Detected{{}}}}, "the id of device 0 is 0 bytes long"},
		"same id":        {[]*Group{{Vendor: "v", Type: "t", Name: "n", Devices: []*Detected{{ID: "0"}, {ID: "0"}}}}, `device "0" is there twice`},
		"same group":     {[]*Group{good(), good()}, "device group 1 (v/t/n): it is there twice"},
		"no value":       {[]*Group{{Vendor: "v", Type: "t", Name: "n", Attributes: map[string]base.Attribute{"a": {}}}}, `attribute "a": an attribute has one value, this one has 0`},
		"unknown unit":   {[]*Group{{Vendor: "v", Type: "t", Name: "n", Attributes: map[string]base.Attribute{"a": base.IntAttribute(1, "furlong")}}}, `unknown unit "furlong"`},
		"unit on a text": {[]*Group{{Vendor: "v", Type: "t", Name: "n", Attributes: map[string]base.Attribute{"a": {String: value("x"), Unit: "MiB"}}}}, "on a value that is no number"},
		"too many":       {[]*Group{many}, "1025 devices"},
		"long":           {[]*Group{{Vendor: strings.Repeat("v", maxText+1), Type: "t", Name: "n"}}, "its vendor is 257 bytes long"},
	} {
		if err := dial(t, &fixed{groups: tt.groups}).Fingerprint(t.Context(), func([]*Group) error { return nil }); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := Validate([]*Group{good()}); err != nil {
		t.Error(err)
	}
	if err := Validate(make([]*Group, maxGroups+1)); err == nil {
		t.Error("too many groups were taken")
	}
}
