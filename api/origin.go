package api

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// changes reports whether a request may change something, so that a page of
// another origin must not send it. Rows that take any verb are among them:
// there a GET acts too.
func changes(row *Route, method string) bool {
	switch {
	case row.Answer == AnswerWebsocket, method != http.MethodGet && method != http.MethodHead:
		return true
	default:
		return slices.Contains(row.Methods, "PUT") || slices.Contains(row.Methods, anyMethod)
	}
}

// foreignOrigin reports whether a browser says that the request comes from a
// page of another origin. Other clients send neither header.
func foreignOrigin(req *http.Request) bool {
	switch req.Header.Get("Sec-Fetch-Site") {
	case "":
	case "same-origin", "none":
		return false
	default:
		return true
	}
	origin := req.Header.Get("Origin")
	if origin == "" {
		return false
	}
	u, err := url.Parse(origin)
	return err != nil || u.Host == "" || !strings.EqualFold(u.Host, req.Host)
}

// knownHost reports whether the Host header can be meant for this agent. A
// page whose name was rebound to a loopback address sends its own name there,
// so on loopback only loopback names, addresses and allowed names pass; other
// addresses are reached by whatever name the operator gave them.
func (m *Mux) knownHost(req *http.Request) bool {
	local, ok := req.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return true
	}
	tcp, ok := local.(*net.TCPAddr)
	if !ok || !tcp.IP.IsLoopback() {
		return true
	}
	host := req.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if host == "" || host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return slices.ContainsFunc(m.cfg.AllowedHosts, func(a string) bool { return a == "*" || strings.EqualFold(a, host) })
}

// corsHeaders lets pages of any origin read the rows that the contract opens
// to them; never with credentials.
func (m *Mux) corsHeaders(h http.Header, e *endpoint) {
	verbs := []string{"HEAD", "GET"}
	for _, r := range e.rows {
		for _, v := range r.Methods {
			if v != "GET" && v != anyMethod {
				verbs = append(verbs, v)
			}
		}
	}
	h.Add("Vary", "Origin")
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Allow-Methods", strings.Join(verbs, ", "))
	h.Set("Access-Control-Allow-Headers", "X-Nomad-Token, Authorization, Content-Type")
	h.Set("Access-Control-Expose-Headers", "X-Nomad-Index, X-Nomad-Knownleader, X-Nomad-Lastcontact, X-Nomad-Nexttoken")
}
