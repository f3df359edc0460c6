package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
)

// Listen makes a socket in a directory, for everybody to connect to, in the
// place of what has its name. The directory's own path may be longer than
// sockets allow, and a link that a task left behind is not followed: the
// directory is opened first. Closing the listener removes nothing.
func (d *Dir) Listen(dir, name string) (net.Listener, error) {
	rel, err := clean(dir)
	if err != nil {
		return nil, err
	}
	root, err := d.root.OpenRoot(rel)
	if err != nil {
		return nil, mapped(err)
	}
	defer root.Close()
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	f, err := root.OpenFile(".", os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: fmt.Sprintf("/proc/self/fd/%d/%s", f.Fd(), name), Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("cannot make the socket %s/%s: %w", dir, name, err)
	}
	l.SetUnlinkOnClose(false)
	if err := root.Chmod(name, 0o777); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}
