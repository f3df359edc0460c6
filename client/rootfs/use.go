package rootfs

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// maxCounted bounds the files that one look at a directory counts.
const maxCounted = 200_000

var errEnough = errors.New("enough is known")

// DataUse is how many bytes of its disk an allocation's directory takes, in
// blocks of the file system; what is mounted in it, as the secrets are, does
// not count. It stops counting beyond limit.
func DataUse(a *AllocDir, limit int64) (int64, error) {
	root, err := os.OpenRoot(a.path)
	if err != nil {
		return 0, err
	}
	defer root.Close()
	base, err := root.Stat(".")
	if err != nil {
		return 0, err
	}
	used, files := int64(0), 0
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil { // tasks remove files meanwhile
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		if !sameMount(base, info) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			used += st.Blocks * 512
		}
		if files++; used > limit || files > maxCounted {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return used, err
}
