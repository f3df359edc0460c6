package logs

import (
	"errors"
	"io/fs"
	"os"
	"time"
)

// Expire removes the files of a log that nobody wrote to since a time. The
// newest stays while its task runs: it is open.
func Expire(dir, base string, before time.Time, running bool) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	files, err := list(root.FS(), base)
	if err != nil {
		return err
	}
	if running && len(files) > 0 {
		files = files[:len(files)-1]
	}
	for _, f := range files {
		info, serr := root.Lstat(f.Name)
		if serr != nil || !info.ModTime().Before(before) {
			continue
		}
		if rerr := root.Remove(f.Name); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
			err = errors.Join(err, rerr)
		}
	}
	return err
}
