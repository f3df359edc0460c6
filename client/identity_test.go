package client

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/structs"
)

// identified gives an allocation's task identities; the first is its default.
func identified(a *structs.Allocation, ids ...*structs.WorkloadIdentity) *structs.Allocation {
	t := a.Job.TaskGroups[0].Tasks[0]
	t.Identity, t.Identities = ids[0], ids[1:]
	a.Job.Canonicalize()
	return a
}

// eventually waits until a check holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("it never came to be that %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func content(path string) string {
	raw, _ := os.ReadFile(path)
	return string(raw)
}

// TestIdentities: tokens arrive in files and in the environment, what the job
// sets itself wins, and no other file of the agent holds them.
func TestIdentities(t *testing.T) {
	s, dir := newServers(), shortDir(t)
	s.ttl = time.Hour
	start(t, dir, s, true)
	a := identified(shell(firstID, structs.JobTypeService, `echo "$NOMAD_TOKEN $NOMAD_TOKEN_aws $NOMAD_TOKEN_own $NOMAD_UNIX_ADDR" > env; sleep 600`),
		&structs.WorkloadIdentity{Name: "default", Env: true, File: true},
		&structs.WorkloadIdentity{Name: "aws", Env: true, File: true, TTL: time.Hour},
		&structs.WorkloadIdentity{Name: "placed", File: true, Filepath: "local/deep/token"},
		&structs.WorkloadIdentity{Name: "own", Env: true},
		&structs.WorkloadIdentity{Name: "unused"})
	a.Job.TaskGroups[0].Tasks[0].Env = map[string]string{"NOMAD_TOKEN_own": "mine"}
	s.put(a)
	s.await(t, firstID, is(structs.AllocClientStatusRunning))
	task := filepath.Join(dir, "alloc", firstID, "main")
	want := "main/default/1 main/aws/2 mine unix://" + task + "/secrets/api.sock\n"
	eventually(t, "the task saw "+want, func() bool { return content(filepath.Join(task, "env")) == want })
	for name, want := range map[string]string{"secrets/nomad_token": "main/default/1", "secrets/nomad_aws.jwt": "main/aws/2", "local/deep/token": "main/placed/3"} {
		info, err := os.Stat(filepath.Join(task, name))
		if got := content(filepath.Join(task, name)); got != want || err != nil || info.Mode() != 0o644 {
			t.Errorf("%s holds %q (%v), want %q", name, got, info, want)
		}
	}
	err := filepath.WalkDir(filepath.Join(dir, "client"), func(p string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && bytes.Contains([]byte(content(p)), []byte("main/aws/2")) {
			t.Errorf("%s holds a token", p)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestIdentityRenewal: tokens are new before they expire, and the task hears of
// it as it asked to.
func TestIdentityRenewal(t *testing.T) {
	const script = `trap 'echo hup >> signals' HUP; echo start >> starts; while :; do sleep 0.05; done`
	for mode, want := range map[string]func(dir string) bool{
		"noop":    func(dir string) bool { return true },
		"signal":  func(dir string) bool { return strings.Count(content(dir+"/signals"), "hup") >= 2 },
		"restart": func(dir string) bool { return strings.Count(content(dir+"/starts"), "start") >= 3 },
	} {
		t.Run(mode, func(t *testing.T) {
			s, dir := newServers(), shortDir(t)
			s.ttl = time.Second
			start(t, dir, s, true)
			id := &structs.WorkloadIdentity{Name: "aws", File: true, TTL: time.Second, ChangeMode: mode}
			if mode == "signal" {
				id.ChangeSignal = "SIGHUP"
			}
			s.put(identified(shell(firstID, structs.JobTypeService, script), &structs.WorkloadIdentity{Name: "default"}, id))
			task := filepath.Join(dir, "alloc", firstID, "main")
			eventually(t, "the third token arrived", func() bool {
				return strings.HasPrefix(content(task+"/secrets/nomad_aws.jwt"), "main/aws/") && content(task+"/secrets/nomad_aws.jwt") > "main/aws/2"
			})
			eventually(t, "the task heard of it", func() bool { return want(task) })
			if starts := strings.Count(content(task+"/starts"), "start"); (mode == "restart") != (starts > 1) {
				t.Errorf("%d starts", starts)
			}
		})
	}
}

// ask sends a request through a task's socket.
func ask(t *testing.T, socket, path, token string) (int, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	return resp.StatusCode, string(body)
}

// TestTaskAPI_N30: a task reaches the agent's API through its socket with a
// token, and with nothing else; the next agent gives the socket back, and goes
// on with the tokens that the task has.
func TestTaskAPI_N30(t *testing.T) {
	s, dir := newServers(), shortDir(t)
	s.ttl = time.Hour
	first := start(t, dir, s, false)
	s.put(identified(shell(firstID, structs.JobTypeService, `sleep 600`), &structs.WorkloadIdentity{Name: "default", Env: true}, &structs.WorkloadIdentity{Name: "aws", File: true, TTL: time.Hour}))
	s.await(t, firstID, is(structs.AllocClientStatusRunning))
	socket := filepath.Join(dir, "alloc", firstID, "main/secrets/api.sock")
	check := func() {
		t.Helper()
		for token, want := range map[string]int{"": http.StatusUnauthorized, "stolen": http.StatusForbidden, "main/default/1": http.StatusOK} {
			if code, body := ask(t, socket, "/v1/client/allocation/"+firstID+"/stats", token); code != want {
				t.Errorf("token %q: %d %s, want %d", token, code, body, want)
			}
		}
	}
	check()
	first.stop()
	second := start(t, dir, s, false)
	eventually(t, "the socket is back", func() bool {
		code, _ := ask(t, socket, "/v1/client/allocation/"+firstID+"/stats", "main/default/1")
		return code == http.StatusOK
	})
	check()
	s.mu.Lock()
	if s.signed != 2 {
		t.Errorf("%d tokens were signed, want 2", s.signed)
	}
	s.mu.Unlock()
	s.stop(firstID)
	s.await(t, firstID, is(structs.AllocClientStatusComplete))
	eventually(t, "the socket is closed", func() bool {
		code, _ := ask(t, socket, "/", "main/default/1")
		return code == 0
	})
	second.endAll()
	second.stop()
}
