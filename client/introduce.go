package client

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/nomadlite/nomadlite/api"
)

// IntroTokenFile may hold the token of an operator in the state directory (the
// contract's name). It is read again at each attempt to register.
const IntroTokenFile = "intro_token.jwt"

// maxIntroToken bounds that file.
const maxIntroToken = 16 << 10

// introducer is a Servers that takes introduction tokens.
type introducer interface {
	Introduce(ctx context.Context, req api.NodeIntroduction) (*api.NodeRegisterResponse, error)
}

// register tells the servers of the node, with its introduction token if there
// is one: they look at it when they do not know the node.
func (c *Client) register(ctx context.Context) (*api.NodeRegisterResponse, error) {
	servers, ok := c.cfg.Servers.(introducer)
	if token := c.introToken(); ok && token != "" {
		return servers.Introduce(ctx, api.NodeIntroduction{Node: c.Node(), Token: token})
	}
	return c.cfg.Servers.Register(ctx, c.Node())
}

func (c *Client) introToken() string {
	if c.cfg.IntroToken != "" {
		return c.cfg.IntroToken
	}
	path := filepath.Join(c.cfg.StateDir, IntroTokenFile)
	if info, err := os.Stat(path); err != nil || info.Size() > maxIntroToken {
		return ""
	}
	text, err := os.ReadFile(path)
	if err != nil {
		c.log.Warn("cannot read the introduction token", "error", err)
		return ""
	}
	return strings.TrimSpace(string(text))
}
