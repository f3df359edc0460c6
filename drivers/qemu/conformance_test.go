package qemu

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/plugins/driver"
	"github.com/nomadlite/nomadlite/plugins/drivertest"
)

// TestMain serves the driver where the suite starts this binary as a plugin.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "plugin" {
		Serve()
		return
	}
	os.Exit(m.Run())
}

// exits is what the emulator makes of a code: its exit device knows odd ones
// alone, and a reset is zero.
func exits(code int) int {
	if code == 0 {
		return 0
	}
	return code | 1
}

// bootSector is a machine that prints to its serial line, waits by the BIOS's
// clock of 18.2 ticks a second, and exits.
func bootSector(b drivertest.Behaviour) []byte {
	code := []byte{
		0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xd0, 0xbc, 0x00, 0x7c, // ds = ss = 0, sp = 0x7c00
		0xfa, 0xfc, // interrupts off: the BIOS speaks in them; strings upward
		0xbe, 0, 0, // si = the text: set below
		0xac, 0x84, 0xc0, 0x74, 0x12, 0x88, 0xc4, // ah = next byte; 0 ends
		0xba, 0xfd, 0x03, 0xec, 0xa8, 0x20, 0x74, 0xfb, // until the serial port takes one
		0x88, 0xe0, 0xba, 0xf8, 0x03, 0xee, 0xeb, 0xe9, // give it ah
		0xfb,                         // interrupts on
		0x66, 0x8b, 0x1e, 0x6c, 0x04, // ebx = the clock
		0x66, 0x81, 0xc3, // ebx += ticks
	}
	code = binary.LittleEndian.AppendUint32(code, uint32(b.RunFor.Seconds()*18.2)+1)
	code = append(code, 0xf4, 0x66, 0x39, 0x1e, 0x6c, 0x04, 0x72, 0xf8) // wait until the clock is ebx
	if b.ExitCode == 0 {
		code = append(code, 0xb0, 0xfe, 0xe6, 0x64) // reset
	} else {
		code = append(code, 0xba, 0xf4, 0x00, 0xb0, byte(exits(b.ExitCode)-1)/2, 0xee) // the exit device
	}
	code = append(code, 0xf4, 0xeb, 0xfd) // until it has happened
	binary.LittleEndian.PutUint16(code[12:], uint16(0x7c00+len(code)))
	code = append(append(code, b.Stdout...), "\r\n\x00"...)
	return append(append(code, bytes.Repeat([]byte{0}, 510-len(code))...), 0x55, 0xaa)
}

func TestConformance(t *testing.T) {
	if !Found() {
		t.Skip("no QEMU")
	}
	drivertest.Run(t, drivertest.Suite{
		Path: os.Args[0], Args: []string{"plugin"}, BadConfig: map[string]any{"image_paths": []any{"relative"}},
		Prepare: func(t testing.TB, b drivertest.Behaviour, cfg *driver.TaskConfig) {
			cfg.Resources.MemoryMB = 128
			if err := os.WriteFile(filepath.Join(cfg.AllocDir, cfg.Name, "local", "boot.img"), bootSector(b), 0o644); err != nil {
				t.Fatal(err)
			}
		},
		Task: func(drivertest.Behaviour) map[string]any {
			return map[string]any{
				"image_path": "local/boot.img",
				"args":       []any{"-device", "isa-debug-exit,iobase=0xf4,iosize=0x04", "-no-reboot", "-nic", "none", "-snapshot"},
			}
		},
		OneOutput: true, Exits: exits, Leaks: drivertest.Cgroups, Patience: time.Minute,
	})
}
