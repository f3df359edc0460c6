package api

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Routes returns the route table, sorted by path and verb. Each call returns a
// table of its own.
func Routes() []Route {
	rows := slices.Concat(jobRoutes(), allocRoutes(), evalRoutes(), fsRoutes(), nodeRoutes(), agentRoutes(), eventRoutes(), variableRoutes(), volumeRoutes(), serviceRoutes(), internalRoutes(), unbuiltRoutes())
	slices.SortStableFunc(rows, func(a, b Route) int {
		if c := strings.Compare(a.Path, b.Path); c != 0 {
			return c
		}
		return strings.Compare(a.Methods[0], b.Methods[0])
	})
	return rows
}

// anyMethod in Route.Methods stands for GET, PUT, POST and DELETE.
const anyMethod = "ANY"

func read(name, path string, c Capability, doc string) Route {
	r := Route{Name: name, Methods: []string{"GET"}, Path: path, Auth: AuthToken, Capability: c, Namespace: NamespaceNone,
		Forward: ForwardAny, Blocking: true, Answer: AnswerJSON, Meta: MetaRead, Doc: doc}
	if strings.HasPrefix(string(c), "ns:") {
		r.Namespace = NamespaceQuery
	}
	return r
}

func list(name, path string, c Capability, kind ListKind, doc string) Route {
	r := read(name, path, c, doc)
	r.List = kind
	if r.Namespace == NamespaceQuery {
		r.Namespace = NamespaceAny
	}
	return r
}

func write(name, path string, c Capability, doc string) Route {
	r := read(name, path, c, doc)
	r.Methods, r.Forward, r.Blocking, r.Meta, r.BodyLimit = []string{"PUT", "POST"}, ForwardLeader, false, MetaWrite, defaultBody
	return r
}

func node(name, path string, c Capability, doc string) Route {
	r := read(name, path, c, doc)
	r.Forward, r.Blocking, r.Meta = ForwardNode, false, MetaNone
	if r.Namespace == NamespaceQuery {
		r.Namespace = NamespaceObject
	}
	return r
}

// local makes a row that the asked agent answers itself; without a capability
// anybody may call it.
func local(name, path string, c Capability, doc string) Route {
	r := read(name, path, c, doc)
	r.Forward, r.Blocking, r.Meta = ForwardLocal, false, MetaNone
	if c == "" {
		r.Auth = AuthNone
	}
	return r
}

// internal makes a row of the server port. Bodies are msgpack both ways.
func internal(name, path string, who Auth, doc string) Route {
	return Route{Name: name, Methods: []string{"POST"}, Path: "/v1/internal/" + path, Auth: who, Namespace: NamespaceNone,
		Forward: ForwardLeader, Answer: AnswerBinary, Meta: MetaNone, BodyLimit: internalBody, Doc: doc}
}

func (r Route) methods(m ...string) Route { r.Methods = m; return r }
func (r Route) limit(n int64) Route       { r.BodyLimit = n; return r }
func (r Route) as(a Answer) Route         { r.Answer = a; return r }
func (r Route) fromBody() Route           { r.Namespace = NamespaceBody; return r }
func (r Route) ofObject() Route           { r.Namespace = NamespaceObject; return r }
func (r Route) inNamespace() Route        { r.Namespace = NamespaceQuery; return r }
func (r Route) anyNamespace() Route       { r.Namespace = NamespaceAny; return r }
func (r Route) filtered() Route           { r.Auth = AuthFiltered; return r }
func (r Route) management() Route         { r.Auth = AuthManagement; return r }
func (r Route) noBlock() Route            { r.Blocking = false; return r }
func (r Route) noMeta() Route             { r.Meta = MetaNone; return r }
func (r Route) local() Route              { r.Forward = ForwardLocal; return r }
func (r Route) server() Route             { r.Forward = ForwardServer; return r }
func (r Route) reads() Route              { r.Forward, r.Meta = ForwardAny, MetaRead; return r }
func (r Route) cors() Route               { r.CORS = true; return r }
func (r Route) open() Route               { r.Auth = AuthNone; return r }

// fixed makes a row from a line of the table of what is not built.
func fixed(line string) Route {
	f := strings.Fields(line)
	status, err := strconv.Atoi(f[3])
	if err != nil {
		panic(fmt.Sprintf("cannot read the route %q: %v", line, err))
	}
	text := strings.Join(f[4:], " ")
	r := local("unbuilt "+f[0]+" "+f[1], f[1], Capability(f[2]), "Not in this build.")
	r.Methods, r.Fixed, r.Meta = strings.Split(f[0], ","), &Fixed{Status: status, Body: text}, MetaRead
	if status == 200 {
		r.Fixed.Body = json.RawMessage(text)
	}
	switch f[2] {
	case "none":
		r.Auth, r.Capability, r.Meta = AuthNone, "", MetaNone
	case "management":
		r.Auth, r.Capability = AuthManagement, ""
	}
	return r
}

// String prints the row as docs/http-routes.md shows it.
func (r Route) String() string {
	answer := string(r.Answer)
	if r.Fixed != nil {
		answer = strconv.Itoa(r.Fixed.Status)
	}
	if r.CORS {
		answer += ", cors"
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |",
		strings.Join(r.Methods, " "), r.Path, r.Name, r.Auth, dash(string(r.Capability)), r.Namespace, r.Forward,
		yes(r.Blocking), dash(string(r.List)), size(r.BodyLimit), answer, r.Doc)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return strings.ReplaceAll(s, "|", `\|`)
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "-"
}

func size(n int64) string {
	switch {
	case n == 0:
		return "-"
	case n%(1<<20) == 0:
		return strconv.FormatInt(n>>20, 10) + " MiB"
	default:
		return strconv.FormatInt(n>>10, 10) + " KiB"
	}
}

// RoutesDoc is the text of docs/http-routes.md.
func RoutesDoc() string {
	var b strings.Builder
	b.WriteString("# HTTP routes\n\nPrinted from the route table (`api.Routes`) by `make golden`; do not edit.\n" +
		"Columns are explained at `api.Route`. A number in \"answer\" is the fixed answer of a route that is not in this build.\n\n" +
		"| verbs | path | name | who | capability | namespace | answered by | blocks | list | body | answer | what |\n" +
		"|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range Routes() {
		b.WriteString(r.String())
		b.WriteByte('\n')
	}
	return b.String()
}
