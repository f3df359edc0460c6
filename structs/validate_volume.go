package structs

import (
	"fmt"
	"slices"
	"sort"
	"strings"
)

// validateVolumes checks the volume requests of a group.
func (g *TaskGroup) validateVolumes(p *problems, j *Job) {
	names := make([]string, 0, len(g.Volumes))
	for name := range g.Volumes {
		names = append(names, name)
	}
	sort.Strings(names)
	canaries := 0
	if g.Update != nil {
		canaries = Val(g.Update.Canary)
	}
	for _, name := range names {
		inner := p.child()
		g.Volumes[name].validate(inner, j, Val(g.Count), canaries)
		p.nest(fmt.Sprintf("Task group volume validation for %s failed", name), inner)
	}
}

func (v *VolumeRequest) validate(p *problems, j *Job, count, canaries int) {
	if v.Source == "" {
		p.add("volume has an empty source")
	}
	if v.Type == "csi" && slices.Contains(p.checks.Refused, v.Type) {
		p.add("csi volumes are not supported by this build")
	}
	if v.PerAlloc {
		switch {
		case j.Type == JobTypeSystem || j.Type == JobTypeSysBatch:
			p.add("volume cannot be per_alloc for %s jobs", j.Type)
		case canaries > 0:
			p.add("volume cannot be per_alloc when canaries are in use")
		case v.Sticky:
			p.add("volume cannot be per_alloc and sticky at the same time")
		}
	}
	switch v.Type {
	case "host":
		v.validateHost(p)
	case "csi":
		v.validateCSI(p, count)
	case "":
		p.add("volume has no type: use host or csi")
	default:
		p.add("volume has unrecognized type %s", v.Type)
	}
}

func (v *VolumeRequest) validateHost(p *problems) {
	if v.MountOptions != nil {
		p.add("host volumes cannot have mount options")
	}
	p.oneOf("host volumes cannot be mounted with access mode", v.AccessMode,
		"", "single-node-writer", "single-node-single-writer", "single-node-multi-writer", "single-node-reader-only")
	if v.AccessMode == "single-node-reader-only" && !v.ReadOnly {
		p.add("%s volumes must be read-only", v.AccessMode)
	}
}

func (v *VolumeRequest) validateCSI(p *problems, count int) {
	if v.Sticky {
		p.add("CSI volumes cannot be sticky")
	}
	p.oneOf("CSI volumes must have an attachment mode, not", v.AttachmentMode, "file-system", "block-device")
	p.oneOf("CSI volumes must have an access mode, not", v.AccessMode, "single-node-reader-only", "single-node-writer",
		"multi-node-reader-only", "multi-node-single-writer", "multi-node-multi-writer")
	if strings.HasSuffix(v.AccessMode, "reader-only") && !v.ReadOnly {
		p.add("%s volumes must be read-only", v.AccessMode)
	}
	single := strings.HasPrefix(v.AccessMode, "single-") || v.AccessMode == "multi-node-single-writer" && !v.ReadOnly
	if single && count > 1 && !v.PerAlloc {
		p.add("volume with %s access mode allows only a count of 1: set per_alloc = true or count = 1", v.AccessMode)
	}
}
