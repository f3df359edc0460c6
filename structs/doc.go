// Package structs holds the nouns of nomadlite: jobs, allocations, nodes,
// evaluations, deployments and what they are made of.
//
// One family of types serves every layer: the result of decoding a job file,
// the body of an HTTP request (field names are the public contract), the
// payload of a Raft entry and the row of the store. There is no second family
// and there are no converters.
//
// A field is a pointer only where "not given" means something other than the
// zero value; Canonicalize fills such fields, and Val reads them safely.
//
// Struct tags on the types of a job specification:
//
//	hcl:"name[,kind]"  the name in a job file; kind is attr (default), block,
//	                   label, map (block or attribute of strings), free (any
//	                   nested content) or "-" for fields that a file cannot set;
//	                   ",required" makes an attribute one that must be given
//	change:"effect"    what a changed value does to running allocations:
//	                   ignore, inplace or destroy (nested types inherit it)
//
// The package imports the standard library alone and knows nothing of HCL,
// Raft, HTTP or the store.
package structs

// Val returns what p points to, or the zero value when p is nil.
func Val[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// Ptr returns a pointer to a copy of v.
func Ptr[T any](v T) *T { return &v }
