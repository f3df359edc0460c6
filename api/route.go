package api

// Route is one row of the route table: everything about a route but what it
// does. Handlers are bound to rows by Name.
type Route struct {
	// Name is what Mux.Bind takes: "<noun>.<verb>".
	Name string
	// Methods are the verbs of the row, in the order of the documentation.
	Methods []string
	// Path is the pattern. A segment ":id" matches one segment, ":id..." one
	// or more: job ids and variable paths may contain slashes.
	Path string
	// Auth says who may call, Capability with which right.
	Auth       Auth
	Capability Capability
	// Namespace says where the namespace of the check comes from.
	Namespace NamespaceSource
	// Forward says which agent answers.
	Forward Forward
	// Blocking rows honour index and wait.
	Blocking bool
	// List says how the rows of a list are keyed and ordered; "" is no list.
	List ListKind
	// Answer is the form of the response.
	Answer Answer
	// Meta says which X-Nomad-* headers a response carries.
	Meta Meta
	// BodyLimit is the largest request body in bytes; 0 takes none.
	BodyLimit int64
	// CORS rows answer preflight requests and any origin's reads.
	CORS bool
	// Fixed is the answer of a row that is not built; such a row takes no
	// handler.
	Fixed *Fixed
	// Doc is one sentence.
	Doc string
}

// Auth is the kind of caller that a row admits.
type Auth string

// Kinds of callers. There is no zero value among them: a row must say.
const (
	AuthNone       Auth = "none"       // anybody: health, status, login
	AuthToken      Auth = "token"      // a token with the row's capability
	AuthFiltered   Auth = "filtered"   // any token; the answer holds what it may see
	AuthManagement Auth = "management" // a management token
	// Internal rows exist on the server port alone; who calls is proved by the
	// certificate of the connection.
	AuthServer Auth = "server" // another server of the region
	AuthAgent  Auth = "agent"  // a server or a node of the region
	AuthRegion Auth = "region" // a server of any region
)

// Internal reports whether the row exists on the server port alone.
func (r *Route) Internal() bool {
	return r.Auth == AuthServer || r.Auth == AuthAgent || r.Auth == AuthRegion
}

// NamespaceSource is where the namespace of the capability check comes from.
type NamespaceSource string

// Sources of namespaces.
const (
	NamespaceNone   NamespaceSource = "-"      // the capability has no namespace
	NamespaceQuery  NamespaceSource = "query"  // ?namespace, default "default"
	NamespaceAny    NamespaceSource = "query*" // as query, "*" is every one
	NamespaceBody   NamespaceSource = "body"   // the handler calls Request.Authorize
	NamespaceObject NamespaceSource = "object" // as body, with the namespace of what was found
)

// Forward is the agent that answers a request.
type Forward string

// Places where a request is answered.
const (
	ForwardLeader Forward = "leader" // writes
	ForwardAny    Forward = "any"    // any server with stale, else the leader
	ForwardNode   Forward = "node"   // the node of the allocation or ?node_id
	ForwardServer Forward = "server" // the agent that was asked when it is a server, else any server
	ForwardLocal  Forward = "local"  // the agent that was asked
)

// ListKind is how a list is keyed, which gives its order, its page tokens and
// the rules for prefixes (http-api.md 1.5, 1.6).
type ListKind string

// Kinds of lists.
const (
	ListNone       ListKind = ""
	ListName       ListKind = "name"         // by name; token is the name
	ListNamespaced ListKind = "namespace.id" // by namespace and id
	ListCreated    ListKind = "create.id"    // by CreateIndex; with a prefix, by id
	ListUUID       ListKind = "uuid"         // by id; the prefix is hex digits
	ListModified   ListKind = "modify"       // by ModifyIndex, newest first
)

// Answer is the form of a response.
type Answer string

// Forms of responses.
const (
	AnswerJSON      Answer = "json"
	AnswerEmpty     Answer = "empty"  // status 200 and no body
	AnswerStream    Answer = "stream" // flushed as it comes; no write timeout
	AnswerWebsocket Answer = "websocket"
	AnswerBinary    Answer = "binary" // msgpack, between agents
)

// Meta says which X-Nomad-* headers a response carries.
type Meta string

// Sets of headers.
const (
	MetaNone  Meta = "-"
	MetaRead  Meta = "read"  // Index, KnownLeader, LastContact
	MetaWrite Meta = "write" // Index
)

// Fixed is the answer of a row that is not built: what the contract's own
// empty cluster would say.
type Fixed struct {
	Status int
	// Body is sent as JSON with status 200, as text with any other.
	Body any
}
