package member

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

const (
	keyA = "T7A3N0kNqNYo1hWXxvYHmAGtLJzjVfn4xzFHZ0yMB0w="
	keyB = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFE="
)

// start runs a pool on loopback; key "" is in clear.
func start(t *testing.T, id, key string, info Info) *Pool {
	t.Helper()
	keys, err := OpenKeys("", key)
	if err != nil {
		t.Fatal(err)
	}
	info.Name, info.Role, info.RPC = id, RoleServer, "127.0.0.1:1"+id
	if info.Region == "" {
		info.Region = "global"
	}
	p, err := New(Config{ID: id, Info: info, BindAddr: "127.0.0.1", Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return p
}

// sees waits until a pool knows that many servers.
func sees(t *testing.T, p *Pool, n int) {
	t.Helper()
	limit := time.After(20 * time.Second)
	for {
		addrs, changed := p.Servers()
		if len(addrs) == n {
			return
		}
		select {
		case <-changed:
		case <-limit:
			t.Fatalf("%s knows %v, want %d", p.ID(), addrs, n)
		}
	}
}

// TestPoolsStayApart_X19: pools with another key, in clear, of another region
// or of another cluster never merge; the same ones do, through any member.
func TestPoolsStayApart_X19(t *testing.T) {
	a := start(t, "1", keyA, Info{Cluster: "c"})
	at := fmt.Sprintf("127.0.0.1:%d", a.Port())
	for name, p := range map[string]*Pool{
		"another key":     start(t, "2", keyB, Info{}),
		"no key":          start(t, "3", "", Info{}),
		"another region":  start(t, "4", keyA, Info{Region: "eu"}),
		"another cluster": start(t, "5", keyA, Info{Cluster: "d"}),
	} {
		_, _ = p.Join([]string{at})
		for _, one := range []*Pool{a, p} {
			if got := len(one.Members()); got != 1 {
				t.Errorf("%s: %d members: %v", name, got, one.Members())
			}
		}
	}
	// Two clusters that met before they had a name part when they get one.
	young, other := start(t, "8", keyB, Info{}), start(t, "9", keyB, Info{})
	if _, err := young.Join([]string{fmt.Sprintf("127.0.0.1:%d", other.Port())}); err != nil {
		t.Fatal(err)
	}
	sees(t, young, 2)
	if err := errors.Join(young.SetCluster("c"), other.SetCluster("d")); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*Pool{young, other} {
		sees(t, p, 1)
	}
	b, c := start(t, "6", keyA, Info{}), start(t, "7", keyA, Info{Cluster: "c"})
	if _, err := b.Join([]string{at}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Join([]string{fmt.Sprintf("127.0.0.1:%d", b.Port())}); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*Pool{a, b, c} {
		sees(t, p, 3)
	}
	if err := c.Leave(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	sees(t, a, 2)
	if !a.ForceLeave("7", true) || len(a.Members()) != 2 {
		t.Errorf("members after a pruned leave: %v", a.Members())
	}
}

func TestKeys(t *testing.T) {
	dir := t.TempDir()
	k, err := OpenKeys(dir, keyA)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Install(keyB); err != nil {
		t.Fatal(err)
	}
	if err := k.Remove(keyA); err == nil {
		t.Error("the key in use was removed")
	}
	if err := k.Use(keyB); err != nil {
		t.Fatal(err)
	}
	if err := k.Remove(keyA); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, KeyringFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file of keys: %v, %v", info, err)
	}
	// The file wins over the configuration.
	again, err := OpenKeys(dir, keyA)
	if err != nil || len(again.List()) != 1 || again.List()[0] != keyB {
		t.Errorf("read back: %v, %v", again, err)
	}
	for _, bad := range []string{"x", "YWJj"} {
		if err := again.Install(bad); err == nil {
			t.Errorf("installed %q", bad)
		}
	}
	if none, err := OpenKeys(t.TempDir(), ""); none != nil || err != nil {
		t.Errorf("keys without a key: %v, %v", none, err)
	}
}
