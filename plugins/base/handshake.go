package base

import "github.com/hashicorp/go-plugin"

// Names under which a plugin process serves its parts.
const (
	KeyBase   = "base"
	KeyDriver = "driver"
	KeyDevice = "device"
)

// Handshake is what host and plugin must agree on before they talk. It is no
// security: it keeps people from running plugins by hand.
var Handshake = plugin.HandshakeConfig{
	ProtocolVersion:  2,
	MagicCookieKey:   "NOMAD_PLUGIN_MAGIC_COOKIE",
	MagicCookieValue: "e4327c2e01eabfd75a8a67adb114fb34a757d57eee7728d857a8cec6e91a7255",
}

// Launched reports whether the process was started as a plugin, by its
// environment.
func Launched(getenv func(string) string) bool {
	return getenv(Handshake.MagicCookieKey) == Handshake.MagicCookieValue
}
