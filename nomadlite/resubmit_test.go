package nomadlite

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/jobspec"
	"github.com/nomadlite/nomadlite/structs"
)

// TestUnchangedJobPlansAsNoChange registers the job of every golden at a
// server, reads it, plans what was read and plans the file again: both times
// nothing is to be done. Goldens that are about one attribute are completed to
// a job; blocks that no client of this build runs count as well.
func TestUnchangedJobPlansAsNoChange(t *testing.T) {
	runsEverything(t)
	s, _ := startServer(t, "")
	s.join()
	registered := 0
	for name, cfg := range goldenFiles(t) {
		job, err := jobspec.Parse(cfg)
		if err != nil || strings.Contains(string(cfg.Source), "uuidv4") || strings.Contains(string(cfg.Source), "bcrypt") {
			continue
		}
		completed(job)
		job.ID = strings.NewReplacer(".txtar/", "-", " ", "-").Replace(name) // a purged job of the same id still has allocations
		ctx := s.context()
		_, _, err = s.client.Jobs().Register(ctx, &api.JobRegisterRequest{Job: job.Copy()}, nil)
		if err != nil {
			t.Logf("%s: %.120s", name, err)
			continue
		}
		registered++
		stored, _, err := s.client.Jobs().Get(ctx, job.ID, nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for what, again := range map[string]*structs.Job{"stored": stored, "file": job} {
			plan, _, err := s.client.Jobs().Plan(ctx, &api.JobPlanRequest{Job: again, Diff: true}, nil)
			if err != nil {
				t.Errorf("%s, %s: %v", name, what, err)
				continue
			}
			if plan.Diff.Type != structs.DiffTypeNone {
				t.Errorf("%s, %s: the plan shows a change: %+v", name, what, plan.Diff)
			}
			for group, u := range plan.Annotations.DesiredTGUpdates {
				if u.DestructiveUpdate+u.InPlaceUpdate+u.Stop > 0 {
					t.Errorf("%s, %s: group %s would be changed: %+v", name, what, group, u)
				}
			}
		}
		if before := stored.Version; before != 0 {
			t.Errorf("%s: first version is %d", name, before)
		}
		if _, _, err := s.client.Jobs().Register(ctx, &api.JobRegisterRequest{Job: stored}, nil); err != nil {
			t.Errorf("%s: registering what was read: %v", name, err)
		} else if after, _, err := s.client.Jobs().Get(ctx, job.ID, nil); err != nil || after.Version != 0 {
			t.Errorf("%s: registering what was read makes version %d, %v", name, after.Version, err)
		}
		if _, _, err := s.client.Jobs().Stop(ctx, job.ID, api.StopOptions{Purge: true}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if registered < 240 {
		t.Errorf("only %d jobs were registered", registered)
	}
	t.Logf("%d jobs were registered", registered)
}

// runsEverything makes servers take blocks that no client of this build runs.
func runsEverything(t *testing.T) {
	blocks := unbuiltBlocks
	unbuiltBlocks = nil
	t.Cleanup(func() { unbuiltBlocks = blocks })
}

// completed adds what a job must have to be registered anywhere.
func completed(job *structs.Job) {
	job.Namespace, job.Region, job.NodePool = "", "", ""
	if job.Type == "" && (job.Periodic != nil || job.ParameterizedJob != nil) {
		job.Type = structs.JobTypeBatch
	}
	if len(job.TaskGroups) == 0 {
		job.TaskGroups = []*structs.TaskGroup{{Name: "g"}}
	}
	for _, g := range job.TaskGroups {
		if len(g.Tasks) == 0 {
			g.Tasks = []*structs.Task{{Name: "t"}}
		}
		for _, task := range g.Tasks {
			if task.Driver == "" {
				task.Driver = "mock"
			}
			for _, m := range task.VolumeMounts {
				if g.Volumes[m.Volume] == nil {
					g.Volumes = map[string]*structs.VolumeRequest{m.Volume: {Type: "host", Source: "s"}}
				}
			}
		}
	}
}

// goldenFiles is the job files of package jobspec's goldens, by archive and
// name.
func goldenFiles(t *testing.T) map[string]jobspec.ParseConfig {
	t.Helper()
	paths, err := filepath.Glob("../jobspec/testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatal("no goldens", err)
	}
	out := map[string]jobspec.ParseConfig{}
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files := map[string][]byte{}
		for _, f := range archive.Files {
			files[f.Name] = f.Data
		}
		for _, f := range archive.Files {
			name, kind, _ := strings.Cut(f.Name, ".")
			if kind != "hcl" && kind != "json" {
				continue
			}
			cfg := jobspec.ParseConfig{Path: f.Name, Source: f.Data, AllowFS: true, BaseDir: "../jobspec/testdata/files"}
			if vars := files[name+".vars"]; vars != nil {
				cfg.VarFiles = []jobspec.VarFile{{Path: name + ".vars", Content: vars}}
			}
			if args := bytes.TrimSuffix(files[name+".args"], []byte("\n")); len(args) > 0 {
				cfg.Vars = strings.Split(string(args), "\n")
			}
			out[filepath.Base(path)+"/"+name] = cfg
		}
	}
	return out
}

// TestSourceBesideTheJob keeps the source of each version, with its variables,
// and drops one that is too long with a warning.
func TestSourceBesideTheJob(t *testing.T) {
	s, _ := startServer(t, "")
	ctx, jobs := s.context(), s.client.Jobs()
	put := func(priority int, source string) string {
		job := testJob("a", "service")
		job.Priority = priority
		resp, _, err := jobs.Register(ctx, &api.JobRegisterRequest{Job: job, Submission: &structs.JobSubmission{
			Source: source, Format: "hcl2", VariableFlags: map[string]string{"n": "1"}, Variables: "m = [2]\n"}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return resp.Warnings
	}
	if w := put(50, "first"); w != "" {
		t.Errorf("warnings %q", w)
	}
	put(60, "second")
	if w := put(70, strings.Repeat("x", api.MaxJobSource)); !strings.Contains(w, "the source of the job is not kept beside it: it has 1048586 bytes, job_max_source_size allows 1048576") {
		t.Errorf("warnings %q", w)
	}
	for version, want := range []string{"first", "second"} {
		sub, _, err := jobs.Submission(ctx, "a", uint64(version), nil)
		if err != nil || sub.Source != want || sub.Format != "hcl2" || sub.VariableFlags["n"] != "1" || sub.Variables != "m = [2]\n" {
			t.Errorf("version %d: %+v, %v", version, sub, err)
		}
	}
	if _, _, err := jobs.Submission(ctx, "a", 2, nil); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("version 2: %v", err)
	}
}
