// Package docker tests the docker driver against a real engine: the one that
// answers already, or one that the suite starts for itself, with data and
// sockets in a folder of its own, and ends by its process id. No image is
// fetched from anywhere: they are made of a static busybox.
package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
)

// Image is what tasks run: a busybox, and a pause for groups.
const Image = "nomadlite-test/busybox:1"

// busybox is where Debian's busybox-static puts it.
const busybox = "/bin/busybox"

// Engine is a Docker engine that answers.
type Engine struct {
	*client.Client
	Host string

	dir        string // of our own engine; "" for one that was there
	bridge     string // of an engine beside another; "" for the usual one
	containerd *exec.Cmd
	cmd        *exec.Cmd
}

// errNoEngine says why the suite cannot run here.
var errNoEngine = errors.New("no docker engine answers, and none can be started: run as root with docker.io, iptables and busybox-static installed")

// StartEngine finds an engine or starts one.
func StartEngine(ctx context.Context) (*Engine, error) {
	if _, err := os.Stat(busybox); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoEngine, err)
	}
	if e, err := answering(ctx, os.Getenv("DOCKER_HOST")); err == nil {
		return e, e.makeImage(ctx, Image)
	}
	return ownEngine(ctx, nil)
}

// StartBeside starts an engine of the suite's own beside one that may run: with
// a bridge of its own, and without touching the firewall. With a size, which
// is in the form of tmpfs, its data has only that much room.
func StartBeside(ctx context.Context, size string) (*Engine, error) {
	return ownEngine(ctx, func(e *Engine) error {
		e.bridge = fmt.Sprintf("nlt%d", os.Getpid())
		address := fmt.Sprintf("10.213.%d.1/24", os.Getpid()%250)
		for _, args := range [][]string{{"link", "add", e.bridge, "type", "bridge"}, {"addr", "add", address, "dev", e.bridge}, {"link", "set", e.bridge, "up"}} {
			if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
				return fmt.Errorf("ip %v: %w: %s", args, err, out)
			}
		}
		if size == "" {
			return nil
		}
		if err := os.Mkdir(e.Data(), 0o700); err != nil {
			return err
		}
		return syscall.Mount("tmpfs", e.Data(), "tmpfs", 0, "size="+size)
	})
}

// ownEngine starts an engine in a folder of its own, which is prepared first.
func ownEngine(ctx context.Context, prepare func(*Engine) error) (*Engine, error) {
	if _, err := exec.LookPath("dockerd"); err != nil || os.Geteuid() != 0 {
		return nil, errNoEngine
	}
	dir, err := os.MkdirTemp("", "nldock-")
	if err != nil {
		return nil, err
	}
	e := &Engine{dir: dir, Host: "unix://" + filepath.Join(dir, "d.sock")}
	if prepare != nil {
		err = prepare(e)
	}
	if err == nil {
		err = e.Launch(ctx)
	}
	if err == nil {
		err = e.makeImage(ctx, Image)
	}
	if err != nil {
		e.Stop()
		return nil, err
	}
	return e, nil
}

// Data is where our own engine keeps images and containers.
func (e *Engine) Data() string { return filepath.Join(e.dir, "data") }

func answering(ctx context.Context, host string) (*Engine, error) {
	if host == "" {
		host = client.DefaultDockerHost
	}
	c, err := client.NewClientWithOpts(client.WithHost(host), client.WithAPIVersionNegotiation())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if _, err := c.Ping(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return &Engine{Client: c, Host: host}, nil
}

// Own reports whether the engine is the suite's, which it may kill.
func (e *Engine) Own() bool { return e.dir != "" }

// begin starts a part of our own engine; its output goes to a file.
func (e *Engine) begin(name string, args ...string) (*exec.Cmd, error) {
	log, err := os.OpenFile(filepath.Join(e.dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd, cmd.Start()
}

// Launch starts our own engine, for the first time or after End, and waits
// until it answers. Containers are kept by a containerd that stays.
func (e *Engine) Launch(ctx context.Context) (err error) {
	socket := filepath.Join(e.dir, "c.sock")
	if e.containerd == nil {
		config := filepath.Join(e.dir, "containerd.toml")
		text := "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n"
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			return err
		}
		if e.containerd, err = e.begin("containerd", "--config", config, "--address", socket, "--root", filepath.Join(e.dir, "croot"),
			"--state", filepath.Join(e.dir, "cstate")); err != nil {
			return err
		}
	}
	args := []string{
		"--data-root", e.Data(), "--exec-root", filepath.Join(e.dir, "exec"), "--containerd", socket,
		"--pidfile", filepath.Join(e.dir, "d.pid"), "-H", e.Host, "--live-restore",
	}
	if e.bridge != "" {
		args = append(args, "--bridge", e.bridge, "--iptables=false", "--ip-masq=false")
	}
	if e.cmd, err = e.begin("dockerd", args...); err != nil {
		return err
	}
	deadline := time.Now().Add(time.Minute)
	for {
		found, err := answering(ctx, e.Host)
		if err == nil {
			e.Client = found.Client
			return nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			raw, _ := os.ReadFile(filepath.Join(e.dir, "dockerd.log"))
			return fmt.Errorf("dockerd does not answer: %w\n%s", err, raw[max(0, len(raw)-3000):])
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// End ends our own dockerd by a signal and waits for it; containers stay.
func (e *Engine) End(sig syscall.Signal) {
	end(e.cmd, sig)
	e.cmd = nil
}

func end(cmd *exec.Cmd, sig syscall.Signal) {
	if cmd == nil || cmd.Process == nil {
		return
	}
	_ = cmd.Process.Signal(sig)
	_ = cmd.Wait()
}

// Stop removes what the suite made, and our own engine with its data.
func (e *Engine) Stop() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if e.Client != nil {
		list, _ := e.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", "com.nomadlite.node_id"))})
		for _, c := range list {
			if e.Own() {
				_ = e.ContainerRemove(ctx, c.ID, container.RemoveOptions{Force: true})
			}
		}
		_, _ = e.ImageRemove(ctx, Image, image.RemoveOptions{})
	}
	if !e.Own() {
		return
	}
	e.End(syscall.SIGTERM)
	end(e.containerd, syscall.SIGTERM)
	e.unmount()
	if e.bridge != "" {
		_ = exec.Command("ip", "link", "del", e.bridge).Run()
	}
	_ = os.RemoveAll(e.dir)
}

// unmount lets go of what an engine that was killed left mounted.
func (e *Engine) unmount() {
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], e.dir+"/") {
			_ = syscall.Unmount(f[4], syscall.MNT_DETACH)
		}
	}
}

// makeImage imports an image that holds a busybox alone.
func (e *Engine) makeImage(ctx context.Context, name string) error {
	if _, err := e.ImageInspect(ctx, name); err == nil {
		return nil
	}
	root, err := Root()
	if err != nil {
		return err
	}
	body, err := e.ImageImport(ctx, image.ImportSource{Source: bytes.NewReader(root), SourceName: "-"}, name,
		image.ImportOptions{Changes: []string{`CMD ["/bin/busybox","sleep","100000000"]`}})
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = io.Copy(io.Discard, body)
	return err
}

// Root is the file system of the image, as an archive.
func Root() ([]byte, error) {
	raw, err := os.ReadFile(busybox)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	files := []tar.Header{
		{Name: "bin/", Mode: 0o755, Typeflag: tar.TypeDir}, {Name: "etc/", Mode: 0o755, Typeflag: tar.TypeDir},
		{Name: "tmp/", Mode: 0o1777, Typeflag: tar.TypeDir}, {Name: "bin/busybox", Mode: 0o755, Typeflag: tar.TypeReg, Size: int64(len(raw))},
	}
	for _, applet := range []string{"sh", "cat", "sleep", "touch", "grep", "wc", "id", "echo", "ls", "true", "env"} {
		files = append(files, tar.Header{Name: "bin/" + applet, Linkname: "busybox", Typeflag: tar.TypeSymlink})
	}
	for _, h := range files {
		if err := w.WriteHeader(&h); err != nil {
			return nil, err
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write(raw); err != nil {
				return nil, err
			}
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
