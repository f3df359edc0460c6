package command

import (
	"encoding/json"
	"flag"
	"fmt"
	"strconv"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/nomadlite"
)

// raftListPeersVerb lists the Raft peers.
func raftListPeersVerb() *verb {
	var stale bool
	return &verb{
		path: "operator raft list-peers", max: 0,
		short: "List the Raft peers",
		flags: func(fs *flag.FlagSet) {
			fs.BoolVar(&stale, "stale", false, "Let any server answer, as it knows them.")
		},
		run: func(c *cli, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			conf, err := client.Operator().RaftConfiguration(c.ctx, &api.QueryOptions{AllowStale: stale})
			if err != nil {
				return exitf(1, "Failed to retrieve raft configuration: %v", err)
			}
			rows := [][]string{{"Node", "ID", "Address", "State", "Voter", "RaftProtocol"}}
			for _, s := range conf.Servers {
				state := "follower"
				if s.Leader {
					state = "leader"
				}
				rows = append(rows, []string{s.Node, s.ID, s.Address, state, strconv.FormatBool(s.Voter), s.RaftProtocol})
			}
			printTable(c.stdout, rows)
			return nil
		},
	}
}

// withRaftFiles runs f over the files of a server that does not run.
func withRaftFiles(dir string, f func(*nomadlite.RaftFiles) error) error {
	files, err := nomadlite.OpenRaftFiles(dir)
	if err != nil {
		return exitf(1, "%v", err)
	}
	defer files.Close()
	if err := f(files); err != nil {
		return exitf(1, "Failed to read the Raft files: %v", err)
	}
	return nil
}

const raftDir = "<path to nomad data dir>"

// raftInfoVerb shows what a stopped server keeps of Raft.
func raftInfoVerb() *verb {
	return &verb{
		path: "operator raft info", args: raftDir, min: 1, max: 1, local: true,
		short: "Show what a stopped server keeps of Raft",
		run: func(c *cli, args []string) error {
			return withRaftFiles(args[0], func(files *nomadlite.RaftFiles) error {
				s, err := files.Summary()
				if err != nil {
					return err
				}
				entries := uint64(0)
				if s.LastIndex > 0 {
					entries = s.LastIndex - s.FirstIndex + 1
				}
				number := func(n uint64) string { return strconv.FormatUint(n, 10) }
				printPairs(c.stdout, []pair{
					{"Path", s.Path}, {"Log Size", strconv.FormatInt(s.Size, 10)}, {"Log Entries", number(entries)}, {"First Index", number(s.FirstIndex)},
					{"Last Index", number(s.LastIndex)}, {"Last Term", number(s.LastTerm)}, {"Current Term", number(s.CurrentTerm)},
				})
				rows := [][]string{{"Snapshot", "Index", "Term", "Size"}}
				for _, m := range s.Snapshots {
					rows = append(rows, []string{m.ID, number(m.Index), number(m.Term), strconv.FormatInt(m.Size, 10)})
				}
				if len(rows) > 1 {
					fmt.Fprintln(c.stdout)
					printTable(c.stdout, rows)
				}
				return nil
			})
		},
	}
}

// raftLogsVerb prints the entries of a stopped server's log.
func raftLogsVerb() *verb {
	var pretty bool
	return &verb{
		path: "operator raft logs", args: raftDir, min: 1, max: 1, local: true,
		short: "Print the entries of a stopped server's Raft log as JSON, one a line; secrets are left out",
		flags: func(fs *flag.FlagSet) { fs.BoolVar(&pretty, "pretty", false, "indent") },
		run: func(c *cli, args []string) error {
			out := json.NewEncoder(c.stdout)
			if pretty {
				out.SetIndent("", "  ")
			}
			return withRaftFiles(args[0], func(files *nomadlite.RaftFiles) error {
				return files.Entries(func(e *nomadlite.RaftEntry) error { return out.Encode(e) })
			})
		},
	}
}

// raftStateVerb shows what snapshot and log of a stopped server amount to.
func raftStateVerb() *verb {
	var last uint64
	return &verb{
		path: "operator raft state", args: raftDir, min: 1, max: 1, local: true,
		short: "Show what snapshot and log of a stopped server amount to, as JSON",
		long:  "Entries that were written but never committed by a majority are counted too.",
		flags: func(fs *flag.FlagSet) { fs.Uint64Var(&last, "last-index", 0, "the last `index` to apply; 0 is all") },
		run: func(c *cli, args []string) error {
			return withRaftFiles(args[0], func(files *nomadlite.RaftFiles) error {
				snap, err := files.State(last)
				if err != nil {
					return err
				}
				out := json.NewEncoder(c.stdout)
				out.SetIndent("", "  ")
				return out.Encode(map[string]any{"Index": snap.Index(), "ClusterID": snap.ClusterID(), "Hash": fmt.Sprintf("%x", snap.Hash()), "Counts": snap.Counts()})
			})
		},
	}
}
