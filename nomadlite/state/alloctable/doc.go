// Package alloctable keeps allocations, of which a region has millions, in
// columns.
//
// An allocation is a row with a 64-bit number that is never used again; its id
// is that number encrypted, so finding a row by id needs no index. What the
// allocations of one plan group share (job version, evaluation, deployment,
// resources, metrics, creation) is stored once, as a batch whose rows have
// consecutive numbers; that is also the index by job, evaluation and
// deployment. Names are derived. What is rarely set is kept beside the row only
// when it is set.
//
// A Table is immutable. An Edit makes the next version: immutable columns are
// appended to in place, beyond the length that any reader knows; mutable
// columns are copied in leaves of 32 rows at their first change in an Edit.
// There is one writer, and an Edit that is dropped leaves no trace.
//
// Nothing outside this package knows of pages. It imports structs alone.
package alloctable
