// Package hclspec describes configuration by schemas that travel between
// processes, and turns configuration into the bytes that a plugin decodes.
// Source of facts: the driver protocol, sections 2.5 and 3.
package hclspec

import "github.com/nomadlite/nomadlite/plugins/proto/hclspecpb"

// Spec is a schema as it travels. Build one with the New functions.
type Spec = hclspecpb.Spec
