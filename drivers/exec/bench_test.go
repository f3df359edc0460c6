package exec

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/drivers/sandbox"
	"github.com/nomadlite/nomadlite/plugins/base"
	"github.com/nomadlite/nomadlite/plugins/driver"
	"github.com/nomadlite/nomadlite/plugins/hclspec"
)

// BenchmarkStart measures a start and the end of a task, as its namesake of
// raw_exec does.
func BenchmarkStart(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("jails are made by root")
	}
	d := sandbox.New(kind, nil, hclog.NewNullLogger())
	if err := d.SetConfig(b.Context(), &base.Config{}); err != nil {
		b.Fatal(err)
	}
	spec, err := d.TaskConfigSchema(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	schema, err := hclspec.Compile(spec)
	if err != nil {
		b.Fatal(err)
	}
	raw, err := schema.Decode(map[string]any{"command": "/bin/true"}, nil)
	if err != nil {
		b.Fatal(err)
	}
	for i := 0; b.Loop(); i++ {
		cfg := &driver.TaskConfig{ID: fmt.Sprintf("bench%d/t/%d", os.Getpid(), i), Name: "t", AllocDir: b.TempDir(), MsgpackConfig: raw}
		for _, dir := range []string{"alloc/logs", "t/private"} {
			if err := os.MkdirAll(filepath.Join(cfg.AllocDir, dir), 0o777); err != nil {
				b.Fatal(err)
			}
		}
		if _, _, err := d.StartTask(context.Background(), cfg); err != nil {
			b.Fatal(err)
		}
		if _, err := d.WaitTask(context.Background(), cfg.ID); err != nil {
			b.Fatal(err)
		}
		if err := d.DestroyTask(context.Background(), cfg.ID, true); err != nil {
			b.Fatal(err)
		}
	}
}
