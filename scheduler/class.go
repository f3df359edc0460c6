package scheduler

import (
	"encoding/hex"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/nomadlite/nomadlite/structs"
)

// ComputedClass is the contract's class of a node, "v1:" and a hash of what
// nodes of one kind share: datacenter, class, pool, and all attributes, meta
// and devices whose keys are not unique to a node.
func ComputedClass(n *structs.Node) string {
	h := fnv.New128a()
	write := func(parts ...string) {
		for _, p := range parts {
			_, _ = h.Write([]byte(p)) // a hash never fails
			_, _ = h.Write([]byte{0})
		}
	}
	write(n.Datacenter, n.NodeClass, n.NodePool)
	writeMap := func(name string, m map[string]string) {
		write(name)
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if !strings.HasPrefix(k, "unique.") {
				write(k, m[k])
			}
		}
	}
	writeMap("attributes", n.Attributes)
	writeMap("meta", n.Meta)
	if n.NodeResources != nil {
		for _, d := range n.NodeResources.Devices {
			write("device", d.Vendor, d.Type, d.Name)
			for _, k := range slices.Sorted(maps.Keys(d.Attributes)) {
				if !strings.HasPrefix(k, "unique.") {
					write(k, attributeText(d.Attributes[k]))
				}
			}
		}
	}
	return "v1:" + hex.EncodeToString(h.Sum(nil))
}

func attributeText(a *structs.Attribute) string {
	switch {
	case a == nil:
		return ""
	case a.StringVal != nil:
		return *a.StringVal
	case a.IntVal != nil:
		return strconv.FormatInt(*a.IntVal, 10) + a.Unit
	case a.FloatVal != nil:
		return strconv.FormatFloat(*a.FloatVal, 'g', -1, 64) + a.Unit
	case a.BoolVal != nil:
		return strconv.FormatBool(*a.BoolVal)
	}
	return ""
}
