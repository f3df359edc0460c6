// Package taskenv makes the environment of a task, and replaces ${…} in the
// texts of a job file by it. The variables, their order and the grammar are the
// public contract's.
package taskenv

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/nomadlite/nomadlite/structs"
)

// Dirs are the task's directories as the task sees them.
type Dirs struct{ Alloc, Task, Secrets string }

// Input is all that an environment is made of. Alloc, Group, Task and Node are
// only read.
type Input struct {
	Alloc *structs.Allocation // with its Job
	Group *structs.TaskGroup
	Task  *structs.Task
	Node  *structs.Node
	Dirs  Dirs
	// HostEnv lets the task see the agent's own environment, less what may
	// hold secrets. Tasks of their own root file system go without it.
	HostEnv bool
	// Environ is the agent's environment as "name=value"; nil is os.Environ().
	Environ []string
	// Denylist replaces the names that never pass to a task (client option
	// env.denylist); nil is the default.
	Denylist []string
}

// Env is the environment of one task. It does not change.
type Env struct {
	vars map[string]string // by cleaned name
	node map[string]string // node.*, attr.* and meta.*
}

// Build makes the environment. What is set later wins: the fixed variables,
// ports, upstreams, meta, then of the host's environment the names that are
// free, then the job's env. Values of env and meta may use ${…}; the entries
// of one block are set in the order of their names, and each sees those before
// it.
func Build(in Input) *Env {
	e := &Env{vars: map[string]string{}, node: nodeNames(in)}
	e.setFixed(in)
	e.setLimits(in)
	e.setPorts(in)
	e.setUpstreams(in)
	e.setMeta(in)
	if in.HostEnv {
		e.setHost(in)
	}
	for _, name := range slices.Sorted(maps.Keys(in.Task.Env)) {
		e.set(name, e.Replace(in.Task.Env[name]))
	}
	return e
}

// With is the environment with more variables, which win. Their values are
// taken as they are.
func (e *Env) With(vars map[string]string) *Env {
	if len(vars) == 0 {
		return e
	}
	out := &Env{vars: maps.Clone(e.vars), node: e.node}
	for name, value := range vars {
		out.set(name, value)
	}
	return out
}

// Map is the whole environment; the caller may change it.
func (e *Env) Map() map[string]string { return maps.Clone(e.vars) }

func (e *Env) set(name, value string) {
	if name != "" {
		e.vars[clean(name)] = value
	}
}

func (e *Env) setPresent(name, value string) {
	if value != "" {
		e.set(name, value)
	}
}

// cleaned are the prefixes of variables that end in a name out of the job
// file, which is made fit for a shell.
var cleaned = []string{"NOMAD_ADDR_", "NOMAD_IP_", "NOMAD_PORT_", "NOMAD_HOST_PORT_", "NOMAD_META_"}

func clean(name string) string {
	for _, prefix := range cleaned {
		if strings.HasPrefix(name, prefix) {
			return cleanName(name)
		}
	}
	return name
}

// cleanName replaces what is neither letter, digit, '_' nor '.', byte by byte.
func cleanName(name string) string {
	out := []byte(name)
	for i, c := range out {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '.') {
			out[i] = '_'
		}
	}
	return string(out)
}

// shortID is how much of an id NOMAD_SHORT_ALLOC_ID has.
const shortID = 8

func (e *Env) setFixed(in Input) {
	e.set("NOMAD_ALLOC_DIR", in.Dirs.Alloc)
	e.set("NOMAD_TASK_DIR", in.Dirs.Task)
	e.set("NOMAD_SECRETS_DIR", in.Dirs.Secrets)
	alloc, job := in.Alloc, in.Alloc.Job
	e.setPresent("NOMAD_ALLOC_ID", alloc.ID)
	e.setPresent("NOMAD_SHORT_ALLOC_ID", alloc.ID[:min(shortID, len(alloc.ID))])
	e.setPresent("NOMAD_ALLOC_NAME", alloc.Name)
	e.set("NOMAD_ALLOC_INDEX", strconv.FormatUint(uint64(alloc.Index()), 10))
	e.setPresent("NOMAD_GROUP_NAME", in.Group.Name)
	e.setPresent("NOMAD_TASK_NAME", in.Task.Name)
	e.setPresent("NOMAD_JOB_ID", job.ID)
	e.setPresent("NOMAD_JOB_NAME", job.Name)
	e.setPresent("NOMAD_JOB_PARENT_ID", job.ParentID)
	e.setPresent("NOMAD_NAMESPACE", alloc.Namespace)
	e.setPresent("NOMAD_REGION", job.Region)
	e.setPresent("NOMAD_DC", in.Node.Datacenter)
	e.setPresent("NOMAD_PARENT_CGROUP", in.Node.CgroupParent)
}

// setLimits sets the task's share. Memory is in MiB, CPU in MHz.
func (e *Env) setLimits(in Input) {
	var given structs.AllocatedTaskResources
	if r := in.Alloc.AllocatedResources; r != nil && r.Tasks[in.Task.Name] != nil {
		given = *r.Tasks[in.Task.Name]
	}
	for name, value := range map[string]int64{
		"NOMAD_MEMORY_LIMIT":     given.Memory.MemoryMB,
		"NOMAD_MEMORY_MAX_LIMIT": given.Memory.MemoryMaxMB,
		"NOMAD_CPU_LIMIT":        given.Cpu.CpuShares,
	} {
		if value != 0 {
			e.set(name, strconv.FormatInt(value, 10))
		}
	}
	e.set("NOMAD_CPU_CORES", coreSet(given.Cpu.ReservedCores))
}

// coreSet writes core numbers as "0-3,6". No core at all is a single space, as
// tasks have always seen it.
func coreSet(cores []uint16) string {
	if len(cores) == 0 {
		return " "
	}
	cores = slices.Compact(slices.Sorted(slices.Values(cores)))
	var out []string
	for i := 0; i < len(cores); {
		j := i
		for j+1 < len(cores) && cores[j+1] == cores[j]+1 {
			j++
		}
		if i == j {
			out = append(out, strconv.Itoa(int(cores[i])))
		} else {
			out = append(out, fmt.Sprintf("%d-%d", cores[i], cores[j]))
		}
		i = j + 1
	}
	return strings.Join(out, ",")
}

// setMeta sets the meta of job, group and task under the name as written and
// in upper case. A dispatched job always has the keys that it may be given.
func (e *Env) setMeta(in Input) {
	job := in.Alloc.Job
	meta := job.MergedMeta(in.Group, in.Task)
	if job.Dispatched && job.ParameterizedJob != nil {
		for _, key := range job.ParameterizedJob.MetaOptional {
			if _, given := meta[key]; !given {
				meta[key] = ""
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(meta)) {
		value := e.Replace(meta[key])
		e.set("NOMAD_META_"+strings.ToUpper(key), value)
		e.set("NOMAD_META_"+key, value)
	}
}

func (e *Env) setHost(in Input) {
	environ := in.Environ
	if environ == nil {
		environ = os.Environ()
	}
	for _, line := range environ {
		name, value, ok := strings.Cut(line, "=")
		if !ok || denied(name, in.Denylist) {
			continue
		}
		if _, taken := e.vars[clean(name)]; !taken {
			e.set(name, value)
		}
	}
}
