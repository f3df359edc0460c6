package hclspec

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/zclconf/go-cty/cty"
	"google.golang.org/protobuf/proto"
)

type object = map[string]any
type list = []any

var schema = NewObject(map[string]*Spec{
	"name":   NewAttr("name", "string", true),
	"count":  NewDefault(NewAttr("count", "number", false), NewLiteral("2 + 1")),
	"labels": NewAttr("labels", "list(map(string))", false),
	"volume": NewBlockList("volume", 0, 2, NewObject(map[string]*Spec{"source": NewAttr("source", "string", true)})),
	"env":    NewBlockAttrs("env", "string", false),
	"auth":   NewBlock("auth", false, NewObject(map[string]*Spec{"user": NewAttr("user", "string", false)})),
})

// decode is a config as the plugin reads it.
func decode(t *testing.T, spec *Spec, config object, variables map[string]cty.Value) (map[string]any, error) {
	t.Helper()
	s, err := Compile(spec)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := s.Decode(config, variables)
	if err != nil {
		return nil, err
	}
	h := &codec.MsgpackHandle{}
	h.RawToString = true
	h.MapType = nil
	var out map[string]any
	if err := codec.NewDecoderBytes(raw, h).Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out, nil
}

func TestDecode(t *testing.T) {
	out, err := decode(t, schema, object{
		"name": "${upper(who)}-${1 + 1}", "labels": list{object{"a": "1"}}, "volume": list{object{"source": "x"}, object{"source": "y"}}, "env": list{object{"K": "v"}},
	}, map[string]cty.Value{"who": cty.StringVal("web")})
	if err != nil {
		t.Fatal(err)
	}
	if out["name"] != "WEB-2" || out["auth"] != nil {
		t.Errorf("decoded %v", out)
	}
	if n, ok := out["count"].(int64); !ok || n != 3 {
		t.Errorf("count %v (%T)", out["count"], out["count"])
	}
	if v, ok := out["volume"].([]any); !ok || len(v) != 2 {
		t.Errorf("volumes %v", out["volume"])
	}
}

// TestProblems: all of them, each a sentence that names what is wrong.
func TestProblems(t *testing.T) {
	for _, tt := range []struct {
		config object
		want   []string
	}{
		{object{}, []string{"name"}},
		{object{"name": "x", "bogus": 1}, []string{`"bogus"`}},
		{object{"name": "${nobody}"}, []string{"Variables not allowed"}},
		{object{"name": "x", "count": "many"}, []string{"number"}},
		{object{"name": "x", "volume": list{object{"source": "a"}, object{"source": "a"}, object{"source": "a"}}}, []string{"volume"}},
		{object{"name": "${file(\"/etc/passwd\")}"}, []string{"file"}},
		{object{"bogus": 1, "other": 2}, []string{`"bogus"`, `"other"`}},
	} {
		_, err := decode(t, schema, tt.config, nil)
		if err == nil {
			t.Errorf("%v is accepted", tt.config)
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%v: %v, want %s", tt.config, err, want)
			}
		}
	}
}

// TestBadSchemas: a plugin's schema that makes no sense is an error.
func TestBadSchemas(t *testing.T) {
	deep := NewAttr("x", "string", false)
	for range 10_000 {
		deep = NewBlock("b", false, NewObject(map[string]*Spec{"x": deep}))
	}
	for name, spec := range map[string]*Spec{
		"type": NewAttr("x", "strin", false), "literal": NewDefault(NewAttr("x", "string", false), NewLiteral("${")), "empty": {},
		"no label": NewBlockMap("x", nil, NewAttr("y", "string", false)), "no name": NewAttr("", "string", false), "deep": deep,
		"variable": NewDefault(NewAttr("x", "string", false), NewLiteral("env.HOME")),
	} {
		if _, err := Compile(spec); err == nil {
			t.Errorf("%s compiles", name)
		}
	}
}

// FuzzCompile: a schema from outside never panics, and neither does a config
// that is decoded by it.
func FuzzCompile(f *testing.F) {
	raw, err := proto.Marshal(schema)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw, "x")
	f.Fuzz(func(_ *testing.T, data []byte, value string) {
		var spec Spec
		if proto.Unmarshal(data, &spec) != nil {
			return
		}
		if s, err := Compile(&spec); err == nil {
			_, _ = s.Decode(object{"name": value, "volume": list{object{"source": value}}}, nil)
		}
	})
}

func TestSpecsTravel(t *testing.T) {
	raw, err := proto.Marshal(schema)
	if err != nil {
		t.Fatal(err)
	}
	var back Spec
	if err := proto.Unmarshal(raw, &back); err != nil || !cmp.Equal(schema.String(), back.String()) {
		t.Errorf("%v", err)
	}
}
