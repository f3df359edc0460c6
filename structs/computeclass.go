package structs

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"sort"
	"strings"
)

// UniquePrefix marks attributes and meta keys that differ between otherwise
// equal nodes; they stay out of the computed class.
const UniquePrefix = "unique."

// ComputeClass stores the node's computed class, "v1:<hash>": nodes that agree
// in datacenter, class, pool, attributes, meta and devices share it, so that a
// constraint is looked at once a class; see reference runtime 11.
func (n *Node) ComputeClass() {
	h := sha256.New()
	hashStrings(h, n.Datacenter, n.NodeClass, n.NodePool)
	hashMap(h, n.Attributes)
	hashMap(h, n.Meta)
	if n.NodeResources != nil {
		for _, d := range n.NodeResources.Devices {
			hashStrings(h, d.Vendor, d.Type, d.Name)
			hashMap(h, d.attributeTexts())
		}
	}
	n.ComputedClass = "v1:" + hex.EncodeToString(h.Sum(nil)[:16])
}

func (d *NodeDeviceResource) attributeTexts() map[string]string {
	texts := make(map[string]string, len(d.Attributes))
	for key, a := range d.Attributes {
		if a != nil {
			texts[key] = fmt.Sprint(Val(a.FloatVal), Val(a.IntVal), Val(a.StringVal), Val(a.BoolVal), a.Unit)
		}
	}
	return texts
}

func hashMap(h hash.Hash, m map[string]string) {
	keys := make([]string, 0, len(m))
	for key := range m {
		if !strings.HasPrefix(key, UniquePrefix) {
			keys = append(keys, key)
		}
	}
	sort.Strings(keys)
	for _, key := range keys {
		hashStrings(h, key, m[key])
	}
	hashStrings(h, "")
}

// hashStrings writes each string with its length, so that neighbours cannot be
// confused.
func hashStrings(h hash.Hash, list ...string) {
	for _, s := range list {
		fmt.Fprintf(h, "%d:%s", len(s), s)
	}
}
