package command

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/hashicorp/hcl/v2/hclparse"

	"github.com/nomadlite/nomadlite/structs"
)

// volumeSpec is a file that describes a volume.
type volumeSpec struct {
	Type        string            `hcl:"type"`
	Name        string            `hcl:"name"`
	ID          string            `hcl:"id,optional"`
	Namespace   string            `hcl:"namespace,optional"`
	PluginID    string            `hcl:"plugin_id,optional"`
	NodeID      string            `hcl:"node_id,optional"`
	NodePool    string            `hcl:"node_pool,optional"`
	HostPath    string            `hcl:"host_path,optional"`
	CapacityMin string            `hcl:"capacity_min,optional"`
	CapacityMax string            `hcl:"capacity_max,optional"`
	Capacity    string            `hcl:"capacity,optional"`
	Parameters  map[string]string `hcl:"parameters,optional"`
	Constraints []volumeCondition `hcl:"constraint,block"`
	Ways        []volumeWay       `hcl:"capability,block"`
}

type volumeCondition struct {
	Attribute string `hcl:"attribute,optional"`
	Operator  string `hcl:"operator,optional"`
	Value     string `hcl:"value,optional"`
}

type volumeWay struct {
	AccessMode     string `hcl:"access_mode"`
	AttachmentMode string `hcl:"attachment_mode"`
}

// readVolume reads a specification, HCL or JSON, from a file or from "-".
func readVolume(stdin io.Reader, name string) (*structs.HostVolume, error) {
	var text []byte
	var err error
	if name == "-" {
		text, err = io.ReadAll(io.LimitReader(stdin, maxVarSpec))
	} else {
		text, err = readBounded(name)
	}
	if err != nil {
		return nil, exitf(1, "Error reading input: %v", err)
	}
	if trimmed := strings.TrimSpace(string(text)); strings.HasPrefix(trimmed, "{") && filepath.Ext(name) != ".hcl" {
		return volumeFromJSON(text)
	}
	// Parameters may be written as a block, too.
	text = parametersBlock.ReplaceAll(text, []byte("$1 = {"))
	// ${attr.x} in a constraint is the node's, and stays as it is written.
	text = nodeReference.ReplaceAllFunc(text, func(found []byte) []byte { return append([]byte("$"), found...) })
	file, diags := hclparse.NewParser().ParseHCL(text, name)
	var spec volumeSpec
	if !diags.HasErrors() {
		diags = gohcl.DecodeBody(file.Body, nil, &spec)
	}
	if diags.HasErrors() {
		return nil, exitf(1, "Error parsing volume specification: %v", diags)
	}
	return spec.volume()
}

var parametersBlock = regexp.MustCompile(`(?m)^(\s*parameters)\s*\{`)

// nodeReference begins a reference to a node that is not escaped yet.
var nodeReference = regexp.MustCompile(`\$\{(attr\.|node\.|meta\.)`)

func volumeFromJSON(text []byte) (*structs.HostVolume, error) {
	var v struct {
		Type string
		structs.HostVolume
	}
	if err := json.Unmarshal(text, &v); err != nil {
		return nil, exitf(1, "Error parsing volume specification: %v", err)
	}
	if err := checkVolumeType(v.Type); err != nil {
		return nil, err
	}
	return &v.HostVolume, nil
}

func checkVolumeType(t string) error {
	switch t {
	case "host":
		return nil
	case "csi":
		return exitf(1, "cannot use a volume of type csi: this build of nomadlite has host volumes alone")
	}
	return exitf(1, "Error unknown volume type: %q; use host", t)
}

func (s *volumeSpec) volume() (*structs.HostVolume, error) {
	if err := checkVolumeType(s.Type); err != nil {
		return nil, err
	}
	v := &structs.HostVolume{
		Name: s.Name, ID: s.ID, Namespace: s.Namespace, PluginID: s.PluginID, NodeID: s.NodeID, NodePool: s.NodePool, HostPath: s.HostPath, Parameters: s.Parameters,
	}
	for _, c := range s.Constraints {
		v.Constraints = append(v.Constraints, &structs.Constraint{LTarget: c.Attribute, Operand: c.Operator, RTarget: c.Value})
	}
	for _, w := range s.Ways {
		v.RequestedCapabilities = append(v.RequestedCapabilities, &structs.HostVolumeCapability{AccessMode: w.AccessMode, AttachmentMode: w.AttachmentMode})
	}
	for name, size := range map[string]struct {
		text string
		into *int64
	}{"capacity_min": {s.CapacityMin, &v.RequestedCapacityMinBytes}, "capacity_max": {s.CapacityMax, &v.RequestedCapacityMaxBytes}, "capacity": {s.Capacity, &v.CapacityBytes}} {
		n, err := parseSize(size.text)
		if err != nil {
			return nil, exitf(1, "Error parsing volume specification: %s: %v", name, err)
		}
		*size.into = n
	}
	return v, nil
}

// sizeUnits are the units of capacities: powers of ten and of two.
var sizeUnits = []struct {
	suffix string
	factor float64
}{
	{"KIB", 1 << 10}, {"MIB", 1 << 20}, {"GIB", 1 << 30}, {"TIB", 1 << 40}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}, {"", 1},
}

// parseSize reads "10GiB", "1.5 GB" or a number of bytes; "" is 0.
func parseSize(text string) (int64, error) {
	upper := strings.ToUpper(strings.TrimSpace(text))
	if upper == "" {
		return 0, nil
	}
	for _, u := range sizeUnits {
		number, ok := strings.CutSuffix(upper, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil || n < 0 || n*u.factor > 1<<62 {
			break
		}
		return int64(n * u.factor), nil
	}
	return 0, fmt.Errorf("%q is no size like 10GiB", text)
}
