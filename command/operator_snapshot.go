package command

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/nomadlite/nomadlite/nomadlite/archive"
	"github.com/nomadlite/nomadlite/nomadlite/state"
)

// snapshotSaveVerb saves the state of the cluster to a file.
func snapshotSaveVerb() *verb {
	var stale bool
	return &verb{
		path: "operator snapshot save", args: "[<file>]", max: 1,
		short: "Save the state of the cluster to a file",
		long: `Save the state to a file, which is read back whole before the command succeeds.
Keep it beside a copy of keyring.kek: without that no variable in it can be read.`,
		flags: func(fs *flag.FlagSet) {
			fs.BoolVar(&stale, "stale", false, "Let any server answer, as it knows the state.")
		},
		run: func(c *cli, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			now := time.Now().UTC()
			name := fmt.Sprintf("nomad-state-%s-%d.snap", now.Format("20060102"), now.Unix())
			if len(args) == 1 {
				name = args[0]
			}
			body, digest, err := client.Operator().Snapshot(c.ctx, stale)
			if err != nil {
				return exitf(1, "Failed to get snapshot file: %v", err)
			}
			defer body.Close()
			tmp := name + ".unverified"
			if err := fetchSnapshot(tmp, body, digest); err != nil {
				return exitf(1, "Failed to save the snapshot: %v", errors.Join(err, os.Remove(tmp)))
			}
			if err := os.Rename(tmp, name); err != nil {
				return exitf(1, "Failed to save the snapshot: %v", err)
			}
			fmt.Fprintf(c.stdout, "State file written to %v\n", name)
			return nil
		},
	}
}

// fetchSnapshot writes an archive to disk, compares its digest and reads it
// back into a state.
func fetchSnapshot(name string, body io.Reader, digest string) error {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(f, sum), body); err != nil {
		return err
	}
	if got := "sha-256=" + base64.StdEncoding.EncodeToString(sum.Sum(nil)); got != digest {
		return fmt.Errorf("the file's digest is %s, the server said %s", got, digest)
	}
	if err := f.Sync(); err != nil {
		return err
	}
	_, _, err = readSnapshot(name)
	return err
}

// readSnapshot reads an archive and the state in it.
func readSnapshot(name string) (*archive.Meta, *state.Snapshot, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	var raw bytes.Buffer
	meta, err := archive.Read(f, &raw)
	if err != nil {
		return nil, nil, err
	}
	store := state.New(state.Options{})
	if err := store.Restore(&raw); err != nil {
		return nil, nil, err
	}
	return meta, store.Snapshot(), nil
}

// snapshotInspectVerb shows what a file holds.
func snapshotInspectVerb() *verb {
	var o format
	return &verb{
		path: "operator snapshot inspect", args: "<file>", min: 1, max: 1, local: true,
		short: "Show what a saved state holds; every sum is checked",
		flags: func(fs *flag.FlagSet) { o.define(fs) },
		run: func(c *cli, args []string) error {
			meta, snap, err := readSnapshot(args[0])
			if err != nil {
				return exitf(1, "Error reading snapshot: %v", err)
			}
			counts := snap.Counts()
			if o.asked() {
				return o.print(c.stdout, map[string]any{"Meta": meta, "Counts": counts})
			}
			printPairs(c.stdout, []pair{
				{"ID", meta.ID}, {"Size", strconv.FormatInt(meta.Size, 10)}, {"Index", strconv.FormatUint(meta.Index, 10)}, {"Term", strconv.FormatUint(meta.Term, 10)},
				{"Version", meta.Version}, {"Cluster", meta.Cluster}, {"Created", meta.Created.Format(time.RFC3339)}, {"Hash", fmt.Sprintf("%x", snap.Hash())},
			})
			fmt.Fprintln(c.stdout)
			rows := [][]string{{"Type", "Count"}}
			for _, table := range sortedKeys(counts) {
				if counts[table] > 0 {
					rows = append(rows, []string{table, strconv.Itoa(counts[table])})
				}
			}
			printTable(c.stdout, rows)
			return nil
		},
	}
}

// snapshotVerifyVerb says whether a file can be restored.
func snapshotVerifyVerb() *verb {
	return &verb{
		path: "operator snapshot verify", args: "<file>", min: 1, max: 1, local: true,
		short: "Say whether a saved state can be restored",
		run: func(c *cli, args []string) error {
			meta, _, err := readSnapshot(args[0])
			if err != nil {
				return exitf(1, "%s cannot be restored: %v", args[0], err)
			}
			fmt.Fprintf(c.stdout, "%s can be restored: index %d, saved %s\n", args[0], meta.Index, meta.Created.Format(time.RFC3339))
			return nil
		},
	}
}

// snapshotRestoreVerb replaces the state of the cluster by a saved one.
func snapshotRestoreVerb() *verb {
	return &verb{
		path: "operator snapshot restore", args: "<file>", min: 1, max: 1,
		short: "Replace the state of the cluster by a saved one",
		run: func(c *cli, args []string) error {
			if _, _, err := readSnapshot(args[0]); err != nil {
				return exitf(1, "%s cannot be restored: %v", args[0], err)
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			f, err := os.Open(args[0])
			if err != nil {
				return exitf(1, "Error opening snapshot file: %v", err)
			}
			defer f.Close()
			if err := client.Operator().SnapshotRestore(c.ctx, f); err != nil {
				return exitf(1, "Failed to restore snapshot: %v", err)
			}
			fmt.Fprintln(c.stdout, "Snapshot Restored")
			return nil
		},
	}
}
