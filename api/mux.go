package api

import (
	"context"
	"net/http"
	"time"

	"github.com/hashicorp/go-hclog"
)

// MuxConfig wires a Mux.
type MuxConfig struct {
	Logger hclog.Logger // named "http"
	// Region is the agent's region; requests may name it or none.
	Region string
	// Resolve finds what a token may do; "" is no token. Nil denies every
	// request that needs a right. Without ACLs pass NoACLs.
	Resolve func(ctx context.Context, token string) (*ACL, error)
	// Leader says whether a leader is known and how long it has been silent.
	// Nil is unknown.
	Leader func() (known bool, lastContact time.Duration)
	// Headers are added to every response (http_api_response_headers).
	Headers map[string]string
	// AllowedHosts are names besides loopback addresses and literal IPs that
	// the Host header may hold, "*" for any; see Mux.
	AllowedHosts []string
	// UI serves /ui/; nil answers 404.
	UI http.Handler
}

// NoACLs is the MuxConfig.Resolve of an agent without ACLs.
func NoACLs(context.Context, string) (*ACL, error) { return ACLsOff, nil }

// Mux serves the route table. Bind all rows, Check, then serve.
type Mux struct {
	cfg      MuxConfig
	handlers map[string]Handler
}

// NewMux returns a mux with no handler bound.
func NewMux(cfg MuxConfig) *Mux { return &Mux{cfg: cfg, handlers: map[string]Handler{}} }

// Bind sets the handler of the row with that name. It panics when there is no
// such row, when the row is fixed, or when it is bound already: all three are
// mistakes of the program.
func (m *Mux) Bind(name string, h Handler) { m.handlers[name] = h }
