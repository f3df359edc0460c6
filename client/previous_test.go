package client

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nomadlite/nomadlite/client/rootfs"
	"github.com/nomadlite/nomadlite/structs"
)

// TestDiskOfAnotherNode_N35: what another node left is there before the first
// task starts; what cannot be had, or is no honest archive, leaves an empty disk
// and an event that says why.
func TestDiskOfAnotherNode_N35(t *testing.T) {
	from := rootfs.NewAllocDir(t.TempDir(), "old", []rootfs.TaskDir{{Name: "main"}})
	if err := from.Build(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = from.Destroy() })
	dir, err := from.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := dir.WriteFile("alloc/data/x", []byte("kept"), 0o644); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := rootfs.WriteData(&b, from, []string{"main"}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		disk        []byte
		found, told string
	}{
		"whole":     {b.Bytes(), "kept", ""},
		"none":      {nil, "", "which holds the disk, is down"},
		"broke off": {b.Bytes()[:1024], "", "broke off"},
		"nonsense":  {bytes.Repeat([]byte("x"), 4096), "", "cannot read the archive"},
	} {
		t.Run(name, func(t *testing.T) {
			s, base := newServers(), shortDir(t)
			s.disk = c.disk
			start(t, base, s, true)
			a := shell(secondID, structs.JobTypeBatch, `cat $NOMAD_ALLOC_DIR/data/x > seen; true`)
			a.PreviousAllocation = firstID
			a.Job.TaskGroups[0].EphemeralDisk.Migrate = true
			s.put(a)
			u := s.await(t, secondID, is(structs.AllocClientStatusComplete))
			if got := content(filepath.Join(base, "alloc", secondID, "main/seen")); got != c.found {
				t.Errorf("the task found %q, want %q", got, c.found)
			}
			if got := event(u, structs.TaskHookMessage); (c.told == "") != (got == "") || !strings.Contains(got, c.told) {
				t.Errorf("the event says %q, want %q", got, c.told)
			}
		})
	}
}
