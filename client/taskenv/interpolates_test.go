package taskenv

import "testing"

func TestInterpolates(t *testing.T) {
	for _, c := range []struct {
		config any
		want   bool
	}{
		{nil, false},
		{map[string]any{"command": "/bin/true", "args": []any{"-c", "echo $HOME", 3, true, 1.5}}, false},
		{map[string]any{"args": []any{"x", "${NOMAD_PORT_http}"}}, true},
		{map[string]any{"args": []string{"%{if true}a%{endif}"}}, true},
		{map[string]any{"env": []map[string]any{{"${meta.a}": "b"}}}, true},
		{map[string]any{"a": map[string]any{"b": []any{map[string]any{"c": "${env.d}"}}}}, true},
		{map[string]any{"unknown": struct{ X string }{"${x}"}}, true},
	} {
		if got := Interpolates(c.config); got != c.want {
			t.Errorf("%v: %t", c.config, got)
		}
	}
}
