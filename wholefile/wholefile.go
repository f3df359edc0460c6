// Package wholefile replaces small files of the product's own, so that a crash
// of the process or of the machine leaves the earlier content or the new one. It
// is for paths that the configuration names; paths that come from jobs belong to
// client/rootfs. It knows nothing of what the files hold.
package wholefile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// Write replaces a file, or makes it, with exactly this mode. When it returns
// nil the content and the name are on disk; the file's folder must be there. A
// link is replaced, not followed. A process that dies meanwhile may leave a file
// of another name beside it, which begins with a dot.
func Write(path string, data []byte, mode fs.FileMode) error {
	folder := filepath.Dir(path)
	file, err := renameio.NewPendingFile(path, renameio.WithTempDir(folder), renameio.WithStaticPermissions(mode))
	if err != nil {
		return err
	}
	defer file.Cleanup()
	if _, err := file.Write(data); err != nil {
		return err
	}
	if err := file.CloseAtomicallyReplace(); err != nil { // synced before
		return err
	}
	return SyncFolder(folder)
}

// SyncFolder makes the names in a folder durable: what was made, renamed or
// removed there.
func SyncFolder(folder string) error {
	dir, err := os.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
