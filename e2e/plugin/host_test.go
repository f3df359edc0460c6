package plugin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/vmihailenco/msgpack/v5"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/nomadlite/nomadlite/e2e/agenttest"
	"github.com/nomadlite/nomadlite/e2e/docker"
	"github.com/nomadlite/nomadlite/plugins/proto/basepb"
	"github.com/nomadlite/nomadlite/plugins/proto/driverpb"
	"github.com/nomadlite/nomadlite/plugins/proto/hclspecpb"
)

// connPlugin gives a host the connection itself.
type connPlugin struct {
	goplugin.NetRPCUnsupportedPlugin
}

func (connPlugin) GRPCServer(*goplugin.GRPCBroker, *grpc.Server) error {
	return errors.New("not a plugin")
}

func (connPlugin) GRPCClient(_ context.Context, _ *goplugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return conn, nil
}

// foreignHost is a host written straight on go-plugin and the wire messages.
type foreignHost struct {
	t      *testing.T
	name   string
	config map[string]any
	client *goplugin.Client
	base   basepb.BasePluginClient
	driver driverpb.DriverClient
}

// connect launches our binary as a plugin, or attaches to the process that is.
func (h *foreignHost) connect(reattach *goplugin.ReattachConfig) {
	h.t.Helper()
	bin, err := agenttest.Binary()
	if err != nil {
		h.t.Fatal(err)
	}
	config := &goplugin.ClientConfig{
		HandshakeConfig:  goplugin.HandshakeConfig{ProtocolVersion: 2, MagicCookieKey: cookieKey, MagicCookieValue: cookieValue},
		Plugins:          goplugin.PluginSet{"base": connPlugin{}, "driver": connPlugin{}},
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
		Logger:           hclog.NewNullLogger(),
		Reattach:         reattach,
	}
	if reattach == nil {
		config.Cmd = exec.Command(bin, "plugin", h.name)
	}
	h.client = goplugin.NewClient(config)
	protocol, err := h.client.Client()
	if err != nil {
		h.t.Fatalf("the handshake fails: %v", err)
	}
	h.base = basepb.NewBasePluginClient(h.dispense(protocol, "base"))
	h.driver = driverpb.NewDriverClient(h.dispense(protocol, "driver"))
}

func (h *foreignHost) dispense(protocol goplugin.ClientProtocol, what string) *grpc.ClientConn {
	h.t.Helper()
	raw, err := protocol.Dispense(what)
	if err != nil {
		h.t.Fatalf("%s cannot be dispensed: %v", what, err)
	}
	return raw.(*grpc.ClientConn)
}

func (h *foreignHost) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	h.t.Cleanup(cancel)
	return ctx
}

// configure does what a host does with a process before it is used.
func (h *foreignHost) configure() {
	h.t.Helper()
	info, err := h.base.PluginInfo(h.ctx(), &basepb.PluginInfoRequest{})
	if err != nil || info.GetType() != basepb.PluginType_DRIVER || info.GetName() != h.name || info.GetPluginApiVersions()[0] != "v0.1.0" {
		h.t.Fatalf("identity: %v, %v", info, err)
	}
	schema, err := h.base.ConfigSchema(h.ctx(), &basepb.ConfigSchemaRequest{})
	if err != nil {
		h.t.Fatal(err)
	}
	_, err = h.base.SetConfig(h.ctx(), &basepb.SetConfigRequest{
		MsgpackConfig: h.encode(schema.GetSpec(), h.config), PluginApiVersion: "v0.1.0",
		NomadConfig: &basepb.NomadConfig{Driver: &basepb.NomadDriverConfig{ClientMinPort: 14000, ClientMaxPort: 14512}},
	})
	if err != nil {
		h.t.Fatalf("SetConfig: %v", err)
	}
	_, _ = h.driver.Init(h.ctx(), &driverpb.InitRequest{}) // optional
}

func (h *foreignHost) encode(spec *hclspecpb.Spec, config map[string]any) []byte {
	h.t.Helper()
	raw, err := msgpack.Marshal(h.value(spec, "", config))
	if err != nil {
		h.t.Fatal(err)
	}
	return raw
}

// value is what a schema makes of a config: what is not given is null, or its
// default.
func (h *foreignHost) value(spec *hclspecpb.Spec, name string, config map[string]any) any {
	h.t.Helper()
	given := func(own string) any {
		if own == "" {
			own = name
		}
		return config[own]
	}
	switch b := spec.GetBlock().(type) {
	case *hclspecpb.Spec_Object:
		out := map[string]any{}
		for key, child := range b.Object.GetAttributes() {
			out[key] = h.value(child, key, config)
		}
		return out
	case *hclspecpb.Spec_Attr:
		return given(b.Attr.GetName())
	case *hclspecpb.Spec_BlockValue:
		if inner, ok := given(b.BlockValue.GetName()).(map[string]any); ok {
			return h.value(b.BlockValue.GetNested(), "", inner)
		}
		return nil
	case *hclspecpb.Spec_BlockList, *hclspecpb.Spec_BlockSet:
		return []any{}
	case *hclspecpb.Spec_BlockAttrs:
		return given(b.BlockAttrs.GetName())
	case *hclspecpb.Spec_Default:
		if v := h.value(b.Default.GetPrimary(), name, config); v != nil {
			return v
		}
		return h.value(b.Default.GetDefault(), name, nil)
	case *hclspecpb.Spec_Literal:
		return h.literal(b.Literal.GetValue())
	default:
		h.t.Fatalf("a schema with %T", b)
		return nil
	}
}

func (h *foreignHost) literal(source string) any {
	h.t.Helper()
	expr, diags := hclsyntax.ParseExpression([]byte(source), "literal", hcl.InitialPos)
	if diags.HasErrors() {
		h.t.Fatal(diags)
	}
	v, diags := expr.Value(nil)
	if diags.HasErrors() {
		h.t.Fatal(diags)
	}
	text, err := ctyjson.Marshal(v, cty.DynamicPseudoType)
	if err != nil {
		h.t.Fatal(err)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var out struct{ Value any }
	if err := decoder.Decode(&out); err != nil {
		h.t.Fatal(err)
	}
	return numbers(out.Value)
}

// numbers makes whole numbers of JSON's.
func numbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, _ := v.Float64() // JSON's syntax is a float's
		return f
	case map[string]any:
		for k, child := range v {
			v[k] = numbers(child)
		}
	case []any:
		for i, child := range v {
			v[i] = numbers(child)
		}
	}
	return v
}

// task is one of a foreign host.
func (h *foreignHost) task(config map[string]any) (*driverpb.TaskConfig, *bufio.Reader) {
	h.t.Helper()
	dir, err := os.MkdirTemp("", "foreign-host-")
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for _, d := range []string{"", "alloc", "alloc/logs", "alloc/data", "alloc/tmp", "t", "t/local", "t/secrets", "t/private", "t/tmp"} {
		if err := errors.Join(os.MkdirAll(filepath.Join(dir, d), 0o777), os.Chmod(filepath.Join(dir, d), 0o777)); err != nil {
			h.t.Fatal(err)
		}
	}
	fifo := filepath.Join(dir, "alloc", "logs", ".t.stdout.fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		h.t.Fatal(err)
	}
	out, err := os.OpenFile(fifo, os.O_RDWR, 0)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { out.Close() })
	schema, err := h.driver.TaskConfigSchema(h.ctx(), &driverpb.TaskConfigSchemaRequest{})
	if err != nil {
		h.t.Fatal(err)
	}
	alloc := fmt.Sprintf("%08x-1111-4222-8333-%012x", os.Getpid(), time.Now().UnixNano()&0xffffffffffff)
	return &driverpb.TaskConfig{
		Id: alloc + "/t/00c0ffee", Name: "t", AllocId: alloc, AllocDir: dir, StdoutPath: fifo, StderrPath: os.DevNull,
		MsgpackDriverConfig: h.encode(schema.GetSpec(), config), JobName: "j", JobId: "j", TaskGroupName: "g", Namespace: "default", NodeName: "n", NodeId: "foreign",
		Env: map[string]string{"PATH": "/usr/bin:/bin", "FROM": "a foreign host"},
		Resources: &driverpb.Resources{
			AllocatedResources: &driverpb.AllocatedTaskResources{Cpu: &driverpb.AllocatedCpuResources{CpuShares: 100}, Memory: &driverpb.AllocatedMemoryResources{MemoryMb: 64}},
			LinuxResources:     &driverpb.LinuxResources{CpuShares: 100, MemoryLimitBytes: 64 << 20, PercentTicks: 0.05},
		},
	}, bufio.NewReader(out)
}

// running fails unless the task runs.
func (h *foreignHost) running(id string) {
	h.t.Helper()
	st, err := h.driver.InspectTask(h.ctx(), &driverpb.InspectTaskRequest{TaskId: id})
	if err != nil || st.GetTask().GetState() != driverpb.TaskState_RUNNING || st.GetTask().GetStartedAt().AsTime().IsZero() {
		h.t.Errorf("InspectTask: %v, %v", st, err)
	}
}

// session runs a command beside the task and returns its output and exit code.
func (h *foreignHost) session(id string, command ...string) (string, int32) {
	h.t.Helper()
	stream, err := h.driver.ExecTaskStreaming(h.ctx())
	if err != nil {
		h.t.Fatal(err)
	}
	for _, req := range []*driverpb.ExecTaskStreamingRequest{
		{Setup: &driverpb.ExecTaskStreamingRequest_Setup{TaskId: id, Command: command}},
		{Stdin: &driverpb.ExecTaskStreamingIOOperation{Data: []byte("typed\n")}},
		{Stdin: &driverpb.ExecTaskStreamingIOOperation{Close: true}},
	} {
		if err := stream.Send(req); err != nil {
			h.t.Fatal(err)
		}
	}
	var said strings.Builder
	code, closed := int32(-1), map[string]bool{}
	for {
		resp, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			h.t.Fatalf("exec: %v", err)
		}
		said.Write(resp.GetStdout().GetData())
		closed["stdout"] = closed["stdout"] || resp.GetStdout().GetClose()
		closed["stderr"] = closed["stderr"] || resp.GetStderr().GetClose()
		if resp.GetExited() {
			code = resp.GetResult().GetExitCode()
		}
	}
	if !closed["stdout"] || !closed["stderr"] {
		h.t.Errorf("outputs of exec are not closed: %v", closed)
	}
	return said.String(), code
}

// life leads a task from its start to its end through two attachments and one
// death of the plugin.
func (h *foreignHost) life(task func(script string) map[string]any) {
	t := h.t
	h.connect(nil)
	defer func() { h.client.Kill() }()
	h.configure()
	prints, err := h.driver.Fingerprint(h.ctx(), &driverpb.FingerprintRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if fp, err := prints.Recv(); err != nil || fp.GetHealth() != driverpb.FingerprintResponse_HEALTHY {
		t.Fatalf("fingerprint: %v, %v", fp, err)
	}
	caps, err := h.driver.Capabilities(h.ctx(), &driverpb.CapabilitiesRequest{})
	if err != nil || !caps.GetCapabilities().GetExec() || !caps.GetCapabilities().GetSendSignals() {
		t.Errorf("capabilities: %v, %v", caps, err)
	}

	cfg, out := h.task(task(`trap 'exit 7' TERM; echo "up $FROM"; while :; do sleep 0.1; done`))
	started, err := h.driver.StartTask(h.ctx(), &driverpb.StartTaskRequest{Task: cfg})
	if err != nil || started.GetHandle() == nil {
		t.Fatalf("StartTask: %v, %v", started, err)
	}
	if line, err := out.ReadString('\n'); err != nil || line != "up a foreign host\n" {
		t.Errorf("output %q, %v", line, err)
	}
	figures, err := h.driver.TaskStats(h.ctx(), &driverpb.TaskStatsRequest{TaskId: cfg.GetId(), CollectionInterval: durationpb.New(time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	if s, err := figures.Recv(); err != nil || s.GetStats().GetAggResourceUsage() == nil {
		t.Errorf("figures: %v, %v", s, err)
	}
	if said, code := h.session(cfg.GetId(), "/bin/sh", "-c", `read x; echo "got $x from $FROM"; exit 4`); said != "got typed from a foreign host\n" || code != 4 {
		t.Errorf("exec: %q, %d", said, code)
	}

	// Another host process attaches to the same plugin.
	first := h.client.ReattachConfig()
	h.connect(first)
	h.running(cfg.GetId())

	// The plugin dies; the next process learns of the task by its handle.
	if err := syscall.Kill(first.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	h.connect(nil)
	h.configure()
	if _, err := h.driver.InspectTask(h.ctx(), &driverpb.InspectTaskRequest{TaskId: cfg.GetId()}); err == nil || !strings.Contains(err.Error(), "task not found for given id") {
		t.Errorf("a new process: %v", err)
	}
	if _, err := h.driver.RecoverTask(h.ctx(), &driverpb.RecoverTaskRequest{Handle: started.GetHandle()}); err != nil {
		t.Fatalf("RecoverTask: %v", err)
	}
	h.running(cfg.GetId())

	if _, err := h.driver.StopTask(h.ctx(), &driverpb.StopTaskRequest{TaskId: cfg.GetId(), Timeout: durationpb.New(20 * time.Second), Signal: "SIGTERM"}); err != nil {
		t.Errorf("StopTask: %v", err)
	}
	if end, err := h.driver.WaitTask(h.ctx(), &driverpb.WaitTaskRequest{TaskId: cfg.GetId()}); err != nil || end.GetResult() == nil {
		t.Errorf("WaitTask: %v, %v", end, err)
	}
	if _, err := h.driver.DestroyTask(h.ctx(), &driverpb.DestroyTaskRequest{TaskId: cfg.GetId()}); err != nil {
		t.Errorf("DestroyTask: %v", err)
	}
	h.exits(task)
}

// exits runs a task to its own end.
func (h *foreignHost) exits(task func(script string) map[string]any) {
	cfg, _ := h.task(task("exit 7"))
	if _, err := h.driver.StartTask(h.ctx(), &driverpb.StartTaskRequest{Task: cfg}); err != nil {
		h.t.Fatalf("StartTask: %v", err)
	}
	end, err := h.driver.WaitTask(h.ctx(), &driverpb.WaitTaskRequest{TaskId: cfg.GetId()})
	if err != nil || end.GetErr() != "" && end.GetResult() == nil || end.GetResult().GetExitCode() != 7 {
		h.t.Errorf("WaitTask: %v, %v", end, err)
	}
	if _, err := h.driver.DestroyTask(h.ctx(), &driverpb.DestroyTaskRequest{TaskId: cfg.GetId(), Force: true}); err != nil {
		h.t.Errorf("DestroyTask: %v", err)
	}
}

// TestForeignHost: our drivers work under a host that has none of our code.
func TestForeignHost(t *testing.T) {
	program := func(script string) map[string]any {
		return map[string]any{"command": "/bin/sh", "args": []any{"-c", script}}
	}
	t.Run("raw_exec", func(t *testing.T) {
		(&foreignHost{t: t, name: "raw_exec", config: map[string]any{"enabled": true}}).life(program)
	})
	t.Run("exec", func(t *testing.T) {
		if os.Geteuid() != 0 {
			t.Skip("jails are made by root")
		}
		(&foreignHost{t: t, name: "exec"}).life(program)
	})
	t.Run("docker", func(t *testing.T) {
		engine, err := docker.StartEngine(t.Context())
		if err != nil {
			t.Skip(err)
		}
		defer engine.Stop()
		(&foreignHost{t: t, name: "docker", config: map[string]any{"endpoint": engine.Host}}).life(func(script string) map[string]any {
			config := program(script)
			config["image"] = docker.Image
			return config
		})
	})
}
