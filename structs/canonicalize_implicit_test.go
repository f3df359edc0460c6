package structs

import (
	"reflect"
	"testing"
)

func TestImplyConstraints(t *testing.T) {
	j := canonical(func(j *Job) {
		g := j.TaskGroups[0]
		g.Networks = []*NetworkResource{{Mode: "bridge"}}
		g.Tasks[0].KillSignal = "sigusr1"
		g.Tasks[0].Templates = []*Template{{EmbeddedTmpl: "x", DestPath: "local/x", ChangeMode: "signal"}}
		g.Constraints = []*Constraint{{"${attr.plugins.cni.version.bridge}", ">= 1.0.0", "semver"}}
	})
	j.ImplyConstraints()
	once := j.Copy()
	j.ImplyConstraints()
	if SpecChanged(once, j) {
		t.Error("not idempotent")
	}
	var got []string
	for _, c := range j.TaskGroups[0].Constraints {
		got = append(got, c.LTarget+" "+c.Operand+" "+c.RTarget)
	}
	want := []string{
		"${attr.plugins.cni.version.bridge} semver >= 1.0.0",
		"${attr.os.signals} set_contains SIGHUP,SIGUSR1",
		"${attr.nomad.service_discovery} = true",
		"${attr.plugins.cni.version.firewall} semver >= 0.4.0",
		"${attr.plugins.cni.version.host-local} semver >= 0.4.0",
		"${attr.plugins.cni.version.loopback} semver >= 0.4.0",
		"${attr.plugins.cni.version.portmap} semver >= 0.4.0",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestCanonicalizeIsIdempotent(t *testing.T) {
	for _, kind := range []string{JobTypeService, JobTypeBatch, JobTypeSystem, JobTypeSysBatch} {
		j := minimalJob(kind)
		j.Update = &UpdateStrategy{MaxParallel: Ptr(0)}
		if !j.rolls() {
			j.Update = nil
		}
		j.Canonicalize()
		once := j.Copy()
		j.Canonicalize()
		if !reflect.DeepEqual(once, j) {
			t.Errorf("%s: the second pass changed something", kind)
		}
	}
}
