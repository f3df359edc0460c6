package structs

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"io"
)

// MigrateToken is what the next node of a job shows to the node of an
// allocation to read its disk: the servers and that node alone can make it.
func MigrateToken(allocID, nodeSecret string) string {
	m := hmac.New(sha256.New, []byte(nodeSecret))
	_, _ = io.WriteString(m, "migrate\x00"+allocID) // never fails
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}
