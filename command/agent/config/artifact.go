package config

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Artifact configures how artifacts are fetched. CacheSize, LocalPaths and
// DenyAddresses are beyond the contract.
type Artifact struct {
	HTTPReadTimeout             time.Duration `hcl:"http_read_timeout"`
	HTTPMaxSize                 string        `hcl:"http_max_size"`
	GCSTimeout                  time.Duration `hcl:"gcs_timeout"`
	GitTimeout                  time.Duration `hcl:"git_timeout"`
	HgTimeout                   time.Duration `hcl:"hg_timeout"`
	S3Timeout                   time.Duration `hcl:"s3_timeout"`
	DecompressionFileCountLimit int           `hcl:"decompression_file_count_limit"`
	DecompressionSizeLimit      string        `hcl:"decompression_size_limit"`
	DisableInspection           bool          `hcl:"disable_artifact_inspection"`
	DisableIsolation            bool          `hcl:"disable_filesystem_isolation"`
	IsolationExtraPaths         []string      `hcl:"filesystem_isolation_extra_paths"`
	SetEnvironmentVariables     string        `hcl:"set_environment_variables"`
	// CacheSize bounds the files that are kept by their checksum; 0 keeps none.
	CacheSize string `hcl:"cache_size"`
	// LocalPaths are folders of the node whose files jobs may fetch.
	LocalPaths []string `hcl:"local_paths"`
	// DenyAddresses are networks that artifacts never come from.
	DenyAddresses []string `hcl:"deny_addresses"`
}

// defaultArtifact has the contract's limits. Denied are the addresses of
// machines' own metadata services.
func defaultArtifact() Artifact {
	const long = 30 * time.Minute
	return Artifact{
		HTTPReadTimeout: long, GCSTimeout: long, GitTimeout: long, HgTimeout: long, S3Timeout: long, HTTPMaxSize: "100GB",
		DecompressionFileCountLimit: 4096, DecompressionSizeLimit: "100GB", CacheSize: "1GB",
		DenyAddresses: []string{"169.254.0.0/16", "fe80::/10", "fd00:ec2::254/128", "100.100.100.200/32"},
	}
}

// ParseSize reads a number of bytes such as 100GB, 512MiB or 4096. Units are
// powers of 1024, as the contract takes them.
func ParseSize(text string) (int64, error) {
	number := strings.TrimRight(strings.TrimSpace(text), "KMGTiBkmgtb")
	unit := strings.ToUpper(strings.TrimSpace(text)[len(number):])
	shift, ok := map[string]uint{"": 0, "B": 0, "K": 10, "M": 20, "G": 30, "T": 40}[strings.TrimSuffix(strings.TrimSuffix(unit, "B"), "I")]
	n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
	if err != nil || !ok || n < 0 || n > 1<<62>>shift {
		return 0, fmt.Errorf("%q is no size: write a number and a unit, as 100GB or 512MB", text)
	}
	return n << shift, nil
}

// problems lists what is wrong with the settings.
func (a *Artifact) problems() (out []string) {
	bad := func(name string, format string, args ...any) {
		out = append(out, "client.artifact."+name+": "+fmt.Sprintf(format, args...))
	}
	for name, text := range map[string]string{"http_max_size": a.HTTPMaxSize, "decompression_size_limit": a.DecompressionSizeLimit, "cache_size": a.CacheSize} {
		if _, err := ParseSize(text); err != nil {
			bad(name, "%v", err)
		}
	}
	for name, d := range map[string]time.Duration{"http_read_timeout": a.HTTPReadTimeout, "git_timeout": a.GitTimeout, "s3_timeout": a.S3Timeout} {
		if d <= 0 {
			bad(name, "must be longer than 0")
		}
	}
	if a.DecompressionFileCountLimit < 0 {
		bad("decompression_file_count_limit", "must not be below 0; 0 is no limit")
	}
	for _, p := range a.LocalPaths {
		if !filepath.IsAbs(p) {
			bad("local_paths", "%q is no absolute path", p)
		}
	}
	for _, d := range a.DenyAddresses {
		if _, err := netip.ParsePrefix(d); err != nil {
			bad("deny_addresses", "%q is no network: write one as 10.0.0.0/8", d)
		}
	}
	for _, p := range a.IsolationExtraPaths {
		if _, _, err := ParseExtraPath(p); err != nil {
			bad("filesystem_isolation_extra_paths", "%v", err)
		}
	}
	return out
}

// ParseExtraPath reads "kind:modes:path", as "d:rx:/opt/tools": kind is f or d,
// modes are of r, w, c and x.
func ParseExtraPath(text string) (path string, write bool, err error) {
	parts := strings.SplitN(text, ":", 3)
	if len(parts) != 3 || parts[0] != "f" && parts[0] != "d" || strings.Trim(parts[1], "rwcx") != "" || !filepath.IsAbs(parts[2]) {
		return "", false, fmt.Errorf("%q is no path of the form f:r:/file or d:rx:/folder", text)
	}
	return filepath.Clean(parts[2]), strings.ContainsAny(parts[1], "wc"), nil
}
