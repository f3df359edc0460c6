// Package api is the HTTP contract of nomadlite, both ends of it: one route
// table, the mux that serves it, the bodies that are not nouns of package
// structs, the error table, generic lists, blocking queries, streams, and the
// Client that the command line and the node agent use.
//
// Routes are data. A route without a row in Routes cannot be served, a row
// says who may call it and how much it may send, and docs/http-routes.md is
// printed from the same rows. Handlers are bound to rows by name and see a
// *Request; they never see Raft, and this package never sees the store.
//
// The facts (names, paths, status codes, texts) come from the project's
// reference of the public contract, http-api.md.
package api
