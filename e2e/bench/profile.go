package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// profile takes CPU profiles of the agent, two seconds each, into files
// DIR/NAME-1.pb.gz and so on until the returned function is called; `go tool
// pprof` merges them. Nothing happens without a folder.
func (a *agent) profile(dir, name string) (stop func() error) {
	if dir == "" {
		return func() error { return nil }
	}
	name = strings.NewReplacer(" ", "-", "/", "-", ",", "").Replace(name)
	end, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		for i := 1; ; i++ {
			select {
			case <-end:
				ended <- nil
				return
			default:
			}
			if err := a.saveProfile(filepath.Join(dir, fmt.Sprintf("%s-%d.pb.gz", name, i))); err != nil {
				ended <- err
				return
			}
		}
	}()
	return func() error { close(end); return <-ended }
}

func (a *agent) saveProfile(path string) error {
	resp, err := http.Get(a.addr + "/v1/agent/pprof/profile?seconds=2")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("cannot profile: %s: %s", resp.Status, raw)
	}
	if err != nil {
		return err
	}
	return os.WriteFile(path, raw, 0o600)
}
