// Package plugin runs a driver that is written straight on go-plugin and the
// wire messages, with none of our plugin-side code: what people already have.
package plugin

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	goplugin "github.com/hashicorp/go-plugin"
	"github.com/vmihailenco/msgpack/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/nomadlite/nomadlite/e2e/agenttest"
	"github.com/nomadlite/nomadlite/plugins/proto/basepb"
	"github.com/nomadlite/nomadlite/plugins/proto/driverpb"
	"github.com/nomadlite/nomadlite/plugins/proto/hclspecpb"
	"github.com/nomadlite/nomadlite/plugins/proto/sharedpb"
)

// The contract's constants, as text: nothing of ours may help.
const (
	cookieKey   = "NOMAD_PLUGIN_MAGIC_COOKIE"
	cookieValue = "e4327c2e01eabfd75a8a67adb114fb34a757d57eee7728d857a8cec6e91a7255"
	fileName    = "acme-runner"
	driverName  = "acme"
)

func TestMain(m *testing.M) {
	if os.Getenv(cookieKey) == cookieValue {
		if len(os.Args) > 1 {
			serveBroken(os.Args[1])
		} else {
			serve()
		}
		return
	}
	os.Exit(m.Run())
}

// service registers one of the two services of a driver plugin.
type service struct {
	goplugin.NetRPCUnsupportedPlugin
	register func(*grpc.Server)
}

func (s *service) GRPCServer(_ *goplugin.GRPCBroker, server *grpc.Server) error {
	s.register(server)
	return nil
}

func (s *service) GRPCClient(context.Context, *goplugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, fmt.Errorf("not a host")
}

func serve() {
	impl := newAcme()
	serveSet(map[string]goplugin.Plugin{
		"base":   &service{register: func(s *grpc.Server) { basepb.RegisterBasePluginServer(s, impl) }},
		"driver": &service{register: func(s *grpc.Server) { driverpb.RegisterDriverServer(s, impl) }},
	})
}

func serveSet(set map[string]goplugin.Plugin) {
	goplugin.Serve(&goplugin.ServeConfig{
		HandshakeConfig: goplugin.HandshakeConfig{ProtocolVersion: 2, MagicCookieKey: cookieKey, MagicCookieValue: cookieValue},
		Plugins:         set,
		GRPCServer:      goplugin.DefaultGRPCServer,
	})
}

func newAcme() *acme { return &acme{tasks: map[string]*exec.Cmd{}, done: map[string]chan struct{}{}} }

// acme runs shell commands; it lacks every optional call.
type acme struct {
	basepb.UnimplementedBasePluginServer
	driverpb.UnimplementedDriverServer

	mu       sync.Mutex
	greeting string
	told     map[string]string // of the node, as attributes
	tasks    map[string]*exec.Cmd
	done     map[string]chan struct{}
}

func attr(name string, required bool) *hclspecpb.Spec {
	return &hclspecpb.Spec{Block: &hclspecpb.Spec_Attr{Attr: &hclspecpb.Attr{Name: name, Type: "string", Required: required}}}
}

func object(attrs map[string]*hclspecpb.Spec) *hclspecpb.Spec {
	return &hclspecpb.Spec{Block: &hclspecpb.Spec_Object{Object: &hclspecpb.Object{Attributes: attrs}}}
}

func (a *acme) PluginInfo(context.Context, *basepb.PluginInfoRequest) (*basepb.PluginInfoResponse, error) {
	return &basepb.PluginInfoResponse{Type: basepb.PluginType_DRIVER, PluginApiVersions: []string{"v0.1.0"}, PluginVersion: "1.2.3", Name: driverName}, nil
}

func (a *acme) ConfigSchema(context.Context, *basepb.ConfigSchemaRequest) (*basepb.ConfigSchemaResponse, error) {
	return &basepb.ConfigSchemaResponse{Spec: object(map[string]*hclspecpb.Spec{"greeting": attr("greeting", true)})}, nil
}

func (a *acme) SetConfig(_ context.Context, req *basepb.SetConfigRequest) (*basepb.SetConfigResponse, error) {
	var config map[string]any
	if err := msgpack.Unmarshal(req.GetMsgpackConfig(), &config); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.greeting, _ = config["greeting"].(string)
	node := req.GetNomadConfig().GetDriver()
	a.told = map[string]string{
		"driver.acme.ports": fmt.Sprint(node.GetClientMinPort(), "-", node.GetClientMaxPort()),
		"driver.acme.cores": fmt.Sprint(len(node.GetTopology().GetCores())), "driver.acme.memories": fmt.Sprint(len(node.GetTopology().GetNodeIds())),
	}
	return &basepb.SetConfigResponse{}, nil
}

func (a *acme) TaskConfigSchema(context.Context, *driverpb.TaskConfigSchemaRequest) (*driverpb.TaskConfigSchemaResponse, error) {
	return &driverpb.TaskConfigSchemaResponse{Spec: object(map[string]*hclspecpb.Spec{"script": attr("script", true)})}, nil
}

func (a *acme) Capabilities(context.Context, *driverpb.CapabilitiesRequest) (*driverpb.CapabilitiesResponse, error) {
	return &driverpb.CapabilitiesResponse{Capabilities: &driverpb.DriverCapabilities{}}, nil
}

func (a *acme) Fingerprint(_ *driverpb.FingerprintRequest, stream grpc.ServerStreamingServer[driverpb.FingerprintResponse]) error {
	attributes := map[string]*sharedpb.Attribute{}
	a.mu.Lock()
	for k, v := range a.told {
		attributes[k] = &sharedpb.Attribute{Value: &sharedpb.Attribute_StringVal{StringVal: v}}
	}
	a.mu.Unlock()
	if err := stream.Send(&driverpb.FingerprintResponse{Attributes: attributes, Health: driverpb.FingerprintResponse_HEALTHY, HealthDescription: "Healthy"}); err != nil {
		return err
	}
	<-stream.Context().Done()
	return nil
}

// TaskEvents floods: nothing of it may harm the agent.
func (a *acme) TaskEvents(_ *driverpb.TaskEventsRequest, stream grpc.ServerStreamingServer[driverpb.DriverTaskEvent]) error {
	for i := range 20_000 {
		if err := stream.Send(&driverpb.DriverTaskEvent{TaskId: "x", AllocId: "none", TaskName: "t", Message: fmt.Sprint("flood ", i)}); err != nil {
			return err
		}
	}
	<-stream.Context().Done()
	return nil
}

func (a *acme) StartTask(_ context.Context, req *driverpb.StartTaskRequest) (*driverpb.StartTaskResponse, error) {
	task := req.GetTask()
	var config map[string]any
	if err := msgpack.Unmarshal(task.GetMsgpackDriverConfig(), &config); err != nil {
		return nil, err
	}
	script, _ := config["script"].(string)
	out, err := os.OpenFile(task.GetStdoutPath(), os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command("/bin/sh", "-c", script)
	a.mu.Lock()
	defer a.mu.Unlock()
	cmd.Stdout, cmd.Env = out, []string{"GREETING=" + a.greeting}
	for k, v := range task.GetEnv() {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	done := make(chan struct{})
	a.tasks[task.GetId()], a.done[task.GetId()] = cmd, done
	go func() { _ = cmd.Wait(); close(done) }()
	return &driverpb.StartTaskResponse{Handle: &driverpb.TaskHandle{Version: 1, Config: task, State: driverpb.TaskState_RUNNING}}, nil
}

func (a *acme) find(id string) (*exec.Cmd, chan struct{}, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if cmd := a.tasks[id]; cmd != nil {
		return cmd, a.done[id], nil
	}
	return nil, nil, status.Error(codes.Unknown, "task not found for given id")
}

func (a *acme) WaitTask(ctx context.Context, req *driverpb.WaitTaskRequest) (*driverpb.WaitTaskResponse, error) {
	cmd, done, err := a.find(req.GetTaskId())
	if err != nil {
		return nil, err
	}
	select {
	case <-done:
		return &driverpb.WaitTaskResponse{Result: &driverpb.ExitResult{ExitCode: int32(cmd.ProcessState.ExitCode())}}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (a *acme) StopTask(_ context.Context, req *driverpb.StopTaskRequest) (*driverpb.StopTaskResponse, error) {
	cmd, done, err := a.find(req.GetTaskId())
	if err != nil {
		return nil, err
	}
	_ = cmd.Process.Kill()
	<-done
	return &driverpb.StopTaskResponse{}, nil
}

func (a *acme) DestroyTask(_ context.Context, req *driverpb.DestroyTaskRequest) (*driverpb.DestroyTaskResponse, error) {
	if _, _, err := a.find(req.GetTaskId()); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.tasks, req.GetTaskId())
	return &driverpb.DestroyTaskResponse{}, nil
}

// newAgent starts an agent whose plugin_dir holds this binary.
func newAgent(t *testing.T) *agenttest.Agent {
	t.Helper()
	dir := t.TempDir()
	raw, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, fileName), raw, 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "plugin.hcl")
	text := fmt.Sprintf("plugin_dir = %q\nclient {\n  client_min_port = 15000\n  client_max_port = 15100\n}\nplugin %q {\n  config {\n    greeting = \"hello\"\n  }\n}\n", dir, fileName)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	a := agenttest.New(t, true, "-config", file)
	healthy(t, a)
	return a
}

func healthy(t *testing.T, a *agenttest.Agent) {
	t.Helper()
	agenttest.Eventually(t, "the foreign driver", func() error {
		drivers, err := a.Drivers()
		if err == nil && !drivers[driverName].Healthy {
			err = fmt.Errorf("%+v", drivers)
		}
		return err
	})
}

func run(t *testing.T, a *agenttest.Agent, id, script string) {
	t.Helper()
	runWith(t, a, driverName, id, script)
}

func runWith(t *testing.T, a *agenttest.Agent, driver, id, script string) {
	t.Helper()
	job := fmt.Sprintf(`{"Job": {"ID": %q, "Type": "batch", "TaskGroups": [{"Name": "g", "EphemeralDisk": {"SizeMB": 50},
	  "RestartPolicy": {"Attempts": 0, "Mode": "fail", "Interval": 60000000000, "Delay": 1000000000}, "ReschedulePolicy": {"Attempts": 0, "Unlimited": false},
	  "Tasks": [{"Name": "t", "Driver": %q, "Config": {"script": %q}, "LogConfig": {"MaxFiles": 2, "MaxFileSizeMB": 10}, "Resources": {"CPU": 20, "MemoryMB": 20}}]}]}}`, id, driver, script)
	resp, err := http.Post(a.Addr+"/v1/jobs", "application/json", strings.NewReader(job))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("register: %s", resp.Status)
	}
}

// await waits for a status of the job's allocation and returns its id.
func await(t *testing.T, a *agenttest.Agent, job, want string) string {
	t.Helper()
	id := ""
	agenttest.Eventually(t, job+" to be "+want, func() error {
		var list []struct {
			ID, ClientStatus string
			TaskStates       map[string]struct {
				Events []struct{ DisplayMessage string }
			}
		}
		if err := a.Get("/v1/job/"+job+"/allocations", &list); err != nil {
			return err
		}
		if len(list) != 1 || list[0].ClientStatus != want {
			return fmt.Errorf("%+v", list)
		}
		id = list[0].ID
		return nil
	})
	return id
}

// TestSocketsArePrivate_X02: every socket of a node's own processes lies in a
// folder that only its owner may enter.
func TestSocketsArePrivate_X02(t *testing.T) {
	a := newAgent(t)
	sockets := 0
	err := filepath.WalkDir(filepath.Join(a.Dir, "data"), func(path string, e os.DirEntry, err error) error {
		if err != nil || e.Type()&os.ModeSocket == 0 {
			return err
		}
		sockets++
		info, err := os.Stat(filepath.Dir(path))
		if err != nil {
			return err
		}
		if owner := info.Sys().(*syscall.Stat_t).Uid; info.Mode().Perm() != 0o700 || int(owner) != os.Geteuid() {
			t.Errorf("%s: its folder is %v of user %d", path, info.Mode(), owner)
		}
		return nil
	})
	if err != nil || sockets < 2 { // the keeper's and a plugin's
		t.Errorf("%d sockets, %v", sockets, err)
	}
	abstract, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(abstract)) {
		if f := strings.Fields(line); len(f) == 8 && strings.HasPrefix(f[7], "@") && (strings.Contains(f[7], a.Dir) || strings.Contains(f[7], "nomad")) {
			t.Errorf("a socket without a folder: %s", f[7])
		}
	}
}

// TestForeignDriver: a driver whose name is not its file's runs jobs, gets its
// configuration, and is started again when it dies.
func TestForeignDriver(t *testing.T) {
	a := newAgent(t)
	// What a host tells a driver of its node.
	var nodes []struct{ ID string }
	var node struct{ Attributes map[string]string }
	if err := a.Get("/v1/nodes", &nodes); err != nil {
		t.Fatal(err)
	}
	if err := a.Get("/v1/node/"+nodes[0].ID, &node); err != nil {
		t.Fatal(err)
	}
	for told, want := range map[string]string{
		"driver.acme.ports": "15000-15100", "driver.acme.cores": node.Attributes["cpu.numcores"], "driver.acme.memories": node.Attributes["numa.node.count"],
	} {
		if got := node.Attributes[told]; got != want || want == "" {
			t.Errorf("%s: %q, want %q", told, got, want)
		}
	}
	run(t, a, "say", `echo "$GREETING from $NOMAD_TASK_NAME"; exit 3`)
	id := await(t, a, "say", "failed")
	agenttest.Eventually(t, "its output", func() error {
		resp, err := http.Get(a.Addr + "/v1/client/fs/logs/" + id + "?task=t&plain=true&type=stdout")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		var b strings.Builder
		if _, err := fmt.Fprint(&b, readAll(resp)); err != nil || b.String() != "hello from t\n" {
			return fmt.Errorf("%q, %v", b.String(), err)
		}
		return nil
	})
	var file string
	for _, p := range a.Processes() {
		if filepath.Base(p.Args[0]) == fileName {
			file = p.Args[0]
			if err := os.Rename(file, file+".away"); err != nil { // so that the node has time to say so
				t.Fatal(err)
			}
			if err := syscall.Kill(p.Pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	driverEvent(t, a, "driver plugin does not answer")
	if err := os.Rename(file+".away", file); err != nil {
		t.Fatal(err)
	}
	healthy(t, a)
	driverEvent(t, a, "Healthy")
	run(t, a, "again", "exit 0")
	await(t, a, "again", "complete")
}

// driverEvent waits until the node's last event of the driver says something.
func driverEvent(t *testing.T, a *agenttest.Agent, want string) {
	t.Helper()
	agenttest.Eventually(t, "an event that says "+want, func() error {
		var list []struct{ ID string }
		if err := a.Get("/v1/nodes", &list); err != nil || len(list) != 1 {
			return fmt.Errorf("%d nodes, %w", len(list), err)
		}
		var node struct {
			Events []struct {
				Message, Subsystem string
				Details            map[string]string
			}
		}
		if err := a.Get("/v1/node/"+list[0].ID, &node); err != nil {
			return err
		}
		last := ""
		for _, e := range node.Events {
			if e.Subsystem == "Driver" && e.Details["driver"] == driverName {
				last = e.Message
			}
		}
		if !strings.Contains(last, want) {
			return fmt.Errorf("%+v", node.Events)
		}
		return nil
	})
}

func readAll(resp *http.Response) string {
	var b strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := resp.Body.Read(buf)
		b.Write(buf[:n])
		if err != nil {
			return b.String()
		}
	}
}
