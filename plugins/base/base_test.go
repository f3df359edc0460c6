package base

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAttribute(t *testing.T) {
	text, empty := "v1", Attribute{}
	two := IntAttribute(1, "")
	two.String = &text
	for _, tt := range []struct {
		a    Attribute
		text string
		want string // of Validate's error
	}{
		{IntAttribute(2, "GiB"), "2GiB", ""}, {FloatAttribute(1.5, "GHz"), "1.5GHz", ""}, {BoolAttribute(true), "true", ""}, {StringAttribute("x"), "x", ""},
		{IntAttribute(2, "parsec"), "2parsec", "unknown unit"}, {Attribute{String: &text, Unit: "MB"}, "v1MB", "no number"},
		{empty, "", "has 0"}, {two, "1", "has 2"},
	} {
		if got := tt.a.Text(); got != tt.text {
			t.Errorf("text %q, want %q", got, tt.text)
		}
		err := tt.a.Validate()
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.text, err, tt.want)
		}
		if back := AttributeFromProto(AttributeToProto(tt.a)); tt.want == "" && !cmp.Equal(back, tt.a) {
			t.Errorf("over the wire: %+v, was %+v", back, tt.a)
		}
	}
}

// TestNegotiateVersion: the highest that both know, by meaning and not by text.
func TestNegotiateVersion(t *testing.T) {
	for _, tt := range []struct {
		host, plugin []string
		want         string
	}{
		{[]string{"v0.1.0"}, []string{"v0.1.0"}, "v0.1.0"}, {[]string{"v0.1.0", "v0.2.0"}, []string{"0.2.0", "v0.10.0", "v0.1.0"}, "0.2.0"},
		{[]string{"v0.1.0"}, []string{"v0.3.0"}, ""}, {[]string{"v0.1.0"}, nil, ""}, {[]string{"v0.1.0"}, []string{"nonsense"}, ""},
	} {
		got, err := NegotiateVersion(tt.host, tt.plugin)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%v and %v: %q, %v; want %q", tt.host, tt.plugin, got, err, tt.want)
		}
	}
}

func TestAgentConfigOverTheWire(t *testing.T) {
	in := &AgentConfig{MinPort: 1, MaxPort: 2, Topology: &Topology{
		NodeIDs: []uint32{0, 1}, Distances: [][]uint32{{10, 20}, {20, 10}}, OverrideTotalCompute: 5,
		Cores: []Core{{SocketID: 1, NodeID: 1, CoreID: 3, Efficiency: true, Disabled: true, BaseSpeed: 1, MaxSpeed: 2, GuessSpeed: 3}},
	}}
	if diff := cmp.Diff(in, agentFromProto(agentToProto(in))); diff != "" {
		t.Error(diff)
	}
	wire := agentToProto(in)
	wire.Topology.Distances.Values = wire.Topology.Distances.Values[:3] // no square
	if out := agentFromProto(wire); out.Topology.Distances != nil {
		t.Errorf("distances %v", out.Topology.Distances)
	}
}

// FuzzDecodeMsgpack: bytes of others never panic.
func FuzzDecodeMsgpack(f *testing.F) {
	f.Add([]byte{0xc1})
	f.Add([]byte{0x81, 0xa1, 'a', 0xdd, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(_ *testing.T, data []byte) {
		var v struct {
			A []map[string]string `codec:"a"`
		}
		_ = DecodeMsgpack(data, &v)
	})
}

// TestCheckVersion: a plugin's version is a number with dots, whatever follows.
func TestCheckVersion(t *testing.T) {
	for text, ok := range map[string]bool{"0.1.0": true, "v1.2.3-beta.1": true, "1.0": true, "": false, "yesterday": false, "1.2.x": false} {
		if err := CheckVersion(text); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}
