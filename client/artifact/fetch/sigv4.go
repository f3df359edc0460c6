package fetch

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// emptySum is the SHA-256 of nothing: requests that get have no body.
const emptySum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// sign signs a request without a body for S3 by AWS Signature Version 4, over
// the headers that it has. Source: AWS, "Authenticating Requests (AWS Signature
// Version 4)" for S3, whose examples are our tests.
func sign(req *http.Request, k Keys, region string, now time.Time) {
	now = now.UTC()
	day, stamp := now.Format("20060102"), now.Format("20060102T150405Z")
	req.Header.Set("x-amz-content-sha256", emptySum)
	req.Header.Set("x-amz-date", stamp)
	if k.Token != "" {
		req.Header.Set("x-amz-security-token", k.Token)
	}
	host := req.Host
	if host == "" {
		host = req.URL.Host
	}
	lines := map[string]string{"host": host}
	names := []string{"host"}
	for name, values := range req.Header {
		name = strings.ToLower(name)
		lines[name] = strings.TrimSpace(strings.Join(values, ","))
		names = append(names, name)
	}
	slices.Sort(names)
	var canonical strings.Builder
	for _, part := range []string{req.Method, escapePath(req.URL.Path), canonicalQuery(req.URL.Query())} {
		canonical.WriteString(part + "\n")
	}
	for _, name := range names {
		canonical.WriteString(name + ":" + lines[name] + "\n")
	}
	signed := strings.Join(names, ";")
	canonical.WriteString("\n" + signed + "\n" + emptySum)

	scope := strings.Join([]string{day, region, "s3", "aws4_request"}, "/")
	sum := sha256.Sum256([]byte(canonical.String()))
	text := strings.Join([]string{"AWS4-HMAC-SHA256", stamp, scope, hex.EncodeToString(sum[:])}, "\n")
	key := []byte("AWS4" + k.Secret)
	for _, part := range []string{day, region, "s3", "aws4_request", text} {
		m := hmac.New(sha256.New, key)
		m.Write([]byte(part))
		key = m.Sum(nil)
	}
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+k.ID+"/"+scope+",SignedHeaders="+signed+",Signature="+hex.EncodeToString(key))
}

// escape is the encoding of RFC 3986, with every byte that is not unreserved.
func escape(s string) string {
	const hexDigits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.Write([]byte{'%', hexDigits[c>>4], hexDigits[c&15]})
	}
	return b.String()
}

func escapePath(p string) string {
	if p == "" {
		return "/"
	}
	parts := strings.Split(p, "/")
	for i := range parts {
		parts[i] = escape(parts[i])
	}
	return strings.Join(parts, "/")
}

func canonicalQuery(q url.Values) string {
	var pairs []string
	for name, values := range q {
		for _, v := range values {
			pairs = append(pairs, escape(name)+"="+escape(v))
		}
	}
	slices.Sort(pairs)
	return strings.Join(pairs, "&")
}
