package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParseMergesInOrder(t *testing.T) {
	c := Default()
	for i, src := range []string{
		`region = "eu"
		client {
		  enabled = true
		  meta { rack = "r1" }
		}`,
		`client {
		  meta { zone = "z" }
		  options {
		    "driver.allowlist" = "raw_exec"
		  }
		  gc_interval = "3m"
		}
		ports { http = 5000 }
		plugin "raw_exec" {
		  config {
		    enabled = true
		    denied_envvars = ["A*"]
		  }
		}`,
		`{"datacenter": "dc7", "server": {"enabled": true}}`,
	} {
		if _, err := c.Parse("f.hcl", []byte(src)); err != nil {
			t.Fatalf("source %d: %v", i, err)
		}
	}
	if c.Region != "eu" || c.Datacenter != "dc7" || !c.Client.Enabled || !c.Server.Enabled || c.Ports.HTTP != 5000 || c.Ports.RPC != 4647 {
		t.Errorf("scalars not merged: %+v", c)
	}
	if c.Client.Meta["rack"] != "r1" || c.Client.Meta["zone"] != "z" || c.Client.Options["driver.allowlist"] != "raw_exec" {
		t.Errorf("maps not merged: %v %v", c.Client.Meta, c.Client.Options)
	}
	if c.Client.GCInterval != 3*time.Minute {
		t.Errorf("gc_interval = %v", c.Client.GCInterval)
	}
	if got := c.Plugins["raw_exec"].Config["enabled"]; got != true {
		t.Errorf("plugin config = %#v", c.Plugins["raw_exec"].Config)
	}
}

func TestParseProblems(t *testing.T) {
	for _, tc := range []struct{ name, src, want string }{
		{"unknown key", "bogus = 1", `f.hcl:1,1: unexpected keys bogus`},
		{"unknown nested", "client {\n  bogus = 1\n}", `f.hcl:2,3: unexpected keys client.bogus`},
		{"not built", "acl {\n  enabled = true\n}", `f.hcl:1,1: acl is not supported by this build`},
		{"wrong type", "ports { http = \"x\" }", `ports.http must be a whole number, not "x"`},
		{"duration", "client { gc_interval = \"soon\" }", `client.gc_interval must be a duration like "30s", not "soon"`},
		{"fraction", "ports { http = 1.5 }", `ports.http must be a whole number, not 1.5`},
		{"list for block", "client = [1]", `client must be a block`},
		{"syntax", "client {", `f.hcl:`},
		{"bad json", "{", `cannot parse f.hcl as JSON`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Default().Parse("f.hcl", []byte(tc.src))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("error %v does not say %q", err, tc.want)
			}
		})
	}
}

func TestHarmlessKeysWarn(t *testing.T) {
	warnings, err := Default().Parse("f.hcl", []byte("disable_update_check = true\nconsul { address = \"x\" }"))
	if err != nil || len(warnings) != 2 {
		t.Fatalf("warnings %q, error %v", warnings, err)
	}
}

func TestLoadDirectory(t *testing.T) {
	dir := t.TempDir()
	for name, src := range map[string]string{
		"b.hcl": `region = "b"`, "a.json": `{"region":"a"}`, "c.hcl~": `nonsense`, "d.txt": `nonsense`, ".#e.hcl": `nonsense`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(src), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := Default()
	if _, err := c.Load([]string{dir}); err != nil {
		t.Fatal(err)
	}
	if c.Region != "b" || len(c.Files) != 2 {
		t.Errorf("region %q from %v", c.Region, c.Files)
	}
}

func TestValidateNamesEveryProblem(t *testing.T) {
	c := Default()
	c.DataDir = "relative"
	c.LogLevel = "LOUD"
	c.Ports.HTTP = 70000
	if err := c.Finish(); err != nil {
		t.Fatal(err)
	}
	err := c.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"Must specify either server, client or dev mode", `data_dir must be given as an absolute path: got "relative"`, `got "LOUD"`, "got 70000"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not say %q:\n%v", want, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`client { options { "a.b" = "c" } }`))
	f.Add([]byte(`{"client":{"meta":{"a":"b"}}}`))
	f.Fuzz(func(t *testing.T, src []byte) {
		_, _ = Default().Parse("f.hcl", src)
	})
}

func TestByteSize(t *testing.T) {
	for text, want := range map[string]int{"0": 0, "1": 1, "512K": 512 << 10, "1M": 1 << 20, "1 MiB": 1 << 20, "2kb": 2 << 10, "3G": 3 << 30} {
		if n, err := ByteSize(text); err != nil || n != want {
			t.Errorf("%q: %d, %v", text, n, err)
		}
	}
	for _, text := range []string{"", "M", "-1", "1.5M", "1T", "999999999999999G", "1 000"} {
		if n, err := ByteSize(text); err == nil {
			t.Errorf("%q is read as %d", text, n)
		}
	}
}

// TestTemplateBlock: what is the node's is taken, what is Consul's and Vault's
// is refused by name, and so is what would let a template out of its sandbox.
func TestTemplateBlock(t *testing.T) {
	c := Default()
	warnings, err := c.Parse("f.hcl", []byte(`client {
	template {
		function_denylist = ["env", "md5*"]
		max_stale         = "1h"
		block_query_wait  = "1m"
		wait { min = "1s" }
		wait_bounds { max = "30s" }
		nomad_retry { backoff = "1s" }
	}
}`))
	want := Template{FunctionDenylist: []string{"env", "md5*"}, BlockQueryWait: time.Minute, Wait: TemplateWait{Min: time.Second}, WaitBounds: TemplateWait{Max: 30 * time.Second}, NomadRetry: TemplateRetry{Backoff: time.Second}}
	if err != nil || len(warnings) != 1 || !reflect.DeepEqual(c.Client.Template, want) || len(c.Client.Template.problems()) > 0 {
		t.Errorf("%+v, warnings %q, %v", c.Client.Template, warnings, err)
	}
	for _, key := range []string{"consul_retry { attempts = 1 }", "vault_retry { attempts = 1 }", `vault_default_lease_duration = "1m"`, "use_client_consul_token = true"} {
		if _, err := Default().Parse("f.hcl", []byte("client {\ntemplate {\n"+key+"\n}\n}")); err == nil || !strings.Contains(err.Error(), "client.template."+strings.Fields(key)[0]) {
			t.Errorf("%s: %v", key, err)
		}
	}
	bad := Template{FunctionDenylist: []string{"["}, DisableFileSandbox: true, Wait: TemplateWait{Min: 2, Max: 1}, WaitBounds: TemplateWait{Min: -1}, NomadRetry: TemplateRetry{Attempts: 3}}
	if got := bad.problems(); len(got) != 5 {
		t.Errorf("problems: %q", got)
	}
}
