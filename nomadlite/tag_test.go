package nomadlite

import (
	"strings"
	"testing"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

func TestVersionTags(t *testing.T) {
	s, _ := startServer(t, "")
	ctx, jobs := s.context(), s.client.Jobs()
	for _, v := range []string{"1", "2", "3"} {
		job := testJob("web/front", structs.JobTypeBatch)
		job.TaskGroups[0].Tasks[0].Env = map[string]string{"V": v}
		s.register(job)
	}
	out, _, err := jobs.Tag(ctx, "web/front", "good one", &api.TagVersionRequest{Version: 1, Description: "works"}, nil)
	if err != nil || out.Name != "good one" || out.Description != "works" || out.TaggedTime == 0 || out.Index == 0 {
		t.Fatalf("%+v %v", out, err)
	}
	if _, _, err := jobs.Tag(ctx, "web/front", "newest", &api.TagVersionRequest{Latest: true}, nil); err != nil {
		t.Fatal(err)
	}
	tags := func() (out []string) {
		resp, _, err := jobs.Versions(ctx, "web/front", true, (*api.QueryOptions)(nil))
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range resp.Versions {
			if v.VersionTag != nil {
				out = append(out, v.VersionTag.Name)
			}
		}
		return out
	}
	if got := strings.Join(tags(), ","); got != "newest,good one" {
		t.Errorf("tags %s", got)
	}
	resp, _, err := jobs.Versions(ctx, "web/front", true, &api.QueryOptions{Params: map[string]string{"diff_tag": "good one"}})
	if err != nil || len(resp.Diffs) == 0 {
		t.Errorf("differences to a tag: %+v %v", resp, err)
	}
	for what, c := range map[string]struct {
		id, name string
		version  uint64
		want     string
	}{
		"taken":      {"web/front", "good one", 0, "409 (cannot tag version 0"},
		"no version": {"web/front", "other", 9, "404 (cannot tag version 9"},
		"no job":     {"nothing", "other", 0, "404 (job \"nothing\" not found"},
		"long":       {"web/front", strings.Repeat("x", 200), 0, "400 (cannot tag job"},
	} {
		_, _, err := jobs.Tag(ctx, c.id, c.name, &api.TagVersionRequest{Version: c.version}, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", what, err, c.want)
		}
	}
	if _, _, err := jobs.Untag(ctx, "web/front", "good one", nil); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(tags(), ","); got != "newest" {
		t.Errorf("tags %s", got)
	}
	if _, _, err := jobs.Untag(ctx, "web/front", "good one", nil); err == nil || !strings.Contains(err.Error(), "404 (cannot remove the tag") {
		t.Errorf("removed twice: %v", err)
	}
}
