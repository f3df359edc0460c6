// Package check probes services: one probe looks once, the Pool runs many, each
// at its interval, with few goroutines. It knows neither allocations nor the
// servers: who asks for a check is told what it says.
package check

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	health "google.golang.org/grpc/health/grpc_health_v1"
)

// Statuses of a check (the contract's words).
const (
	Success = "success"
	Failure = "failure"
	Pending = "pending"
)

// maxOutput bounds what is kept of a probe's answer.
const maxOutput = 3 << 10

// Result is what a probe found.
type Result struct {
	Status string
	Output string
	Code   int // of http
	Time   time.Time
}

// Probe looks once. ctx ends at the check's timeout.
type Probe interface {
	Look(ctx context.Context) Result
}

func failure(format string, args ...any) Result {
	return Result{Status: Failure, Output: cut(fmt.Sprintf(format, args...))}
}

func cut(s string) string {
	if len(s) > maxOutput {
		s = s[:maxOutput]
	}
	return strings.ToValidUTF8(s, "?")
}

// TCP connects.
type TCP struct{ Address string }

// Look implements Probe.
func (p TCP) Look(ctx context.Context) Result {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.Address)
	if err != nil {
		return failure("nomad: %v", err)
	}
	conn.Close()
	return Result{Status: Success, Output: "nomad: tcp ok"}
}

// HTTP sends a request; a status below 400 passes. Redirects are not followed:
// they count as an answer.
type HTTP struct {
	URL        string
	Method     string
	Body       string
	Header     map[string][]string
	SkipVerify bool
	ServerName string
}

// Look implements Probe.
func (p HTTP) Look(ctx context.Context) Result {
	method := p.Method
	if method == "" {
		method = http.MethodGet
	}
	req, err := http.NewRequestWithContext(ctx, strings.ToUpper(method), p.URL, bytes.NewReader([]byte(p.Body)))
	if err != nil {
		return failure("nomad: %v", err)
	}
	req.Header.Set("User-Agent", "nomadlite-check")
	for key, values := range p.Header {
		for _, v := range values {
			req.Header.Add(key, v)
		}
	}
	if host := req.Header.Get("Host"); host != "" {
		req.Host = host
	}
	// A connection of its own each time: a kept one would say little about
	// whether the service takes new ones.
	transport := &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: p.SkipVerify, ServerName: p.ServerName}} //nolint:gosec // asked for by the job
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return failure("nomad: %v", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxOutput))
	r := Result{Status: Success, Code: resp.StatusCode, Output: "nomad: http ok"}
	if resp.StatusCode != http.StatusOK {
		r.Output = cut(string(body))
	}
	if resp.StatusCode >= http.StatusBadRequest {
		r.Status = Failure
	} else if err != nil && ctx.Err() != nil {
		return failure("nomad: %v", err)
	}
	return r
}

// GRPC asks the standard health service (grpc.health.v1).
type GRPC struct {
	Address    string
	Service    string
	UseTLS     bool
	SkipVerify bool
	ServerName string
}

// Look implements Probe.
func (p GRPC) Look(ctx context.Context) Result {
	creds := insecure.NewCredentials()
	if p.UseTLS {
		creds = credentials.NewTLS(&tls.Config{InsecureSkipVerify: p.SkipVerify, ServerName: p.ServerName}) //nolint:gosec // asked for by the job
	}
	conn, err := grpc.NewClient("passthrough:///"+p.Address, grpc.WithTransportCredentials(creds), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<10)))
	if err != nil {
		return failure("nomad: %v", err)
	}
	defer conn.Close()
	resp, err := health.NewHealthClient(conn).Check(ctx, &health.HealthCheckRequest{Service: p.Service})
	if err != nil {
		return failure("nomad: %v", err)
	}
	if resp.GetStatus() != health.HealthCheckResponse_SERVING {
		return failure("nomad: grpc %s", resp.GetStatus())
	}
	return Result{Status: Success, Output: "nomad: grpc ok"}
}

// Script runs a command in the task: exit code 0 passes.
type Script struct {
	// Run returns the command's output and exit code.
	Run func(ctx context.Context) (output string, code int, err error)
}

// Look implements Probe.
func (p Script) Look(ctx context.Context) Result {
	out, code, err := p.Run(ctx)
	switch {
	case err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return failure("nomad: the script did not end in time")
	case err != nil:
		return failure("nomad: cannot run the script: %v", err)
	case code != 0:
		return Result{Status: Failure, Output: cut(out), Code: code}
	}
	return Result{Status: Success, Output: cut(out)}
}

// JoinURL makes the URL of an http check.
func JoinURL(protocol, host string, port int, path string) string {
	if protocol == "" {
		protocol = "http"
	}
	return protocol + "://" + net.JoinHostPort(host, strconv.Itoa(port)) + "/" + strings.TrimPrefix(path, "/")
}
