package fetch

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// Getters: what can fetch.
const (
	getHTTP = "http" // http and https
	getGit  = "git"
	getS3   = "s3"
	getFile = "file"
)

// Source is where an artifact comes from: what the job file says, read.
type Source struct {
	Getter string
	// URL is the address without what is meant for us; for git also what
	// `git clone` takes.
	URL string
	// Subdir is the part of the result that is wanted; "" is all of it.
	Subdir string
	// Filename names the file where it is put into a directory.
	Filename string
	// Archive is the kind of archive, "" for none.
	Archive string
	Sum     Checksum

	Ref     string // git: branch, tag or commit
	Depth   int    // git: how many commits, 0 for all
	SSHKey  string // git: a private key, decoded
	Region  string // s3
	Version string // s3
	Keys    Keys   // s3
}

// Keys sign requests to S3. Empty ones ask without a signature.
type Keys struct{ ID, Secret, Token string }

// Checksum is what the file must hash to.
type Checksum struct{ Type, Hex string }

// String is the source as it may be shown: without credentials and parameters.
func (s *Source) String() string { return shown(s.URL) }

func shown(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "(unreadable address)"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

var (
	forced = regexp.MustCompile(`^([A-Za-z0-9]+)::(.+)$`)
	scp    = regexp.MustCompile(`^([A-Za-z0-9._-]+)@([A-Za-z0-9.-]+):(.+)$`)
)

// ParseSource reads the source and the options of an artifact, after
// interpolation. The grammar is go-getter's, of the getters that we have.
func ParseSource(source string, options map[string]string) (*Source, error) {
	s := &Source{}
	rest := strings.TrimSpace(source)
	if m := forced.FindStringSubmatch(rest); m != nil {
		s.Getter, rest = m[1], m[2]
	}
	if forced.MatchString(rest) {
		return nil, fmt.Errorf("source %q has two getters: give one", shown(rest))
	}
	rest = detect(s, rest)
	u, err := url.Parse(rest)
	if err != nil {
		return nil, fmt.Errorf("source is no address: %w", errors.Unwrap(err))
	}
	if err := s.choose(u); err != nil {
		return nil, err
	}
	query := u.Query()
	for name, value := range options {
		query.Set(name, value)
	}
	if err := s.takeQuery(query); err != nil {
		return nil, err
	}
	u.RawQuery = query.Encode()
	if err := s.takeSubdir(u); err != nil {
		return nil, err
	}
	return s, s.finish(u)
}

// detect turns the short forms of addresses into URLs.
func detect(s *Source, rest string) string {
	if m := scp.FindStringSubmatch(rest); m != nil {
		if s.Getter == "" {
			s.Getter = getGit
		}
		return "ssh://" + m[1] + "@" + m[2] + "/" + strings.TrimPrefix(m[3], "/")
	}
	if strings.Contains(rest, "://") || s.Getter != "" {
		return rest
	}
	host, tail, _ := strings.Cut(rest, "/")
	switch {
	case host == "github.com" || host == "gitlab.com" || host == "bitbucket.org":
		parts := strings.SplitN(tail, "/", 3) // owner, repository, what is wanted of it
		s.Getter = getGit
		if len(parts) == 3 && !strings.HasPrefix(parts[2], "/") {
			query := ""
			parts[2], query, _ = strings.Cut(parts[2], "?")
			rest = host + "/" + parts[0] + "/" + parts[1] + "//" + parts[2]
			if query != "" {
				rest += "?" + query
			}
		}
		return "https://" + rest
	case strings.HasSuffix(host, ".amazonaws.com"):
		s.Getter = getS3
		return "https://" + rest
	case strings.HasPrefix(rest, "/"):
		s.Getter = getFile
		return "file://" + rest
	}
	return rest
}

// choose finds the getter by the scheme and refuses pairs that make no sense.
func (s *Source) choose(u *url.URL) error {
	allowed := map[string][]string{
		getHTTP: {"http", "https"}, "https": {"https"}, getGit: {"https", "http", "ssh"}, getS3: {"https", "http", "s3"}, getFile: {"file"},
	}
	if s.Getter == "" {
		switch u.Scheme {
		case "http", "https":
			s.Getter = getHTTP
		case "ssh":
			s.Getter = getGit
		case "s3", "file", "git":
			s.Getter = u.Scheme
		case "":
			return fmt.Errorf("source %q has no scheme: begin it with https://, git::, s3:: or a host that is known (github.com)", shown(u.String()))
		default:
			return fmt.Errorf("source has the scheme %q, which nothing here can fetch: use http, https, git, s3 or file", u.Scheme)
		}
	}
	schemes, ok := allowed[s.Getter]
	if !ok {
		return fmt.Errorf("source asks for the getter %q, which is not in this build: use http, https, git, s3 or file (objects of Google Cloud are at https://storage.googleapis.com/BUCKET/OBJECT)", s.Getter)
	}
	if s.Getter == "https" {
		s.Getter = getHTTP
	}
	for _, scheme := range schemes {
		if u.Scheme == scheme {
			if s.Getter != getFile && u.Hostname() == "" || strings.HasPrefix(u.Hostname(), "-") {
				return fmt.Errorf("source %q names no host", shown(u.String()))
			}
			return nil
		}
	}
	return fmt.Errorf("source has the scheme %q, which the getter %q does not take: use one of %s", u.Scheme, s.Getter, strings.Join(schemes, ", "))
}

// takeQuery takes the parameters that are for us out of the query.
func (s *Source) takeQuery(q url.Values) error {
	take := func(name string) string {
		v := q.Get(name)
		q.Del(name)
		return v
	}
	var err error
	if s.Sum, err = parseSum(take("checksum")); err != nil {
		return err
	}
	s.Archive = take("archive")
	if s.Filename = take("filename"); s.Filename != "" && path.Base(s.Filename) != s.Filename {
		return fmt.Errorf("option filename %q is no plain file name", s.Filename)
	}
	switch s.Getter {
	case getGit:
		s.Ref = take("ref")
		if strings.HasPrefix(s.Ref, "-") || strings.ContainsAny(s.Ref, " \t\n:~^?*[\\") || strings.Contains(s.Ref, "..") {
			return fmt.Errorf("option ref %q is no branch, tag or commit", s.Ref)
		}
		if depth := take("depth"); depth != "" {
			if s.Depth, err = strconv.Atoi(depth); err != nil || s.Depth < 1 {
				return fmt.Errorf("option depth %q is no number above 0", depth)
			}
		}
		if key := take("sshkey"); key != "" {
			raw, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(key, " ", "+"))
			if err != nil {
				return errors.New("option sshkey is not a private key in base64: encode it with `base64 -w0`")
			}
			s.SSHKey = string(raw)
		}
	case getS3:
		s.Keys = Keys{take("aws_access_key_id"), take("aws_access_key_secret"), take("aws_access_token")}
		s.Region, s.Version = take("region"), take("version")
		if profile := take("aws_profile"); profile != "" {
			return fmt.Errorf("option aws_profile %q: the files of AWS profiles are not read here; give aws_access_key_id and aws_access_key_secret", profile)
		}
		if (s.Keys.ID == "") != (s.Keys.Secret == "") {
			return errors.New("options aws_access_key_id and aws_access_key_secret go together")
		}
	}
	return nil
}

var sumTypes = map[int]string{32: "md5", 40: "sha1", 64: "sha256", 128: "sha512"}

// parseSum reads "type:hex", or hex alone.
func parseSum(text string) (Checksum, error) {
	if text = strings.TrimSpace(text); text == "" {
		return Checksum{}, nil
	}
	kind, value, found := strings.Cut(text, ":")
	if !found {
		kind, value = sumTypes[len(text)], text
	}
	if kind == "file" {
		return Checksum{}, errors.New("a checksum that is in a file elsewhere is not fetched: give the value itself, as sha256:…")
	}
	value = strings.ToLower(value)
	if _, err := hex.DecodeString(value); err != nil || kind == "" || sumTypes[len(value)] != kind {
		return Checksum{}, fmt.Errorf("checksum %.80q is not one of md5, sha1, sha256 or sha512 with its hexadecimal digits", text)
	}
	return Checksum{kind, value}, nil
}

// takeSubdir cuts the part behind "//" from the path.
func (s *Source) takeSubdir(u *url.URL) error {
	if s.Getter == getFile {
		return nil
	}
	before, sub, found := strings.Cut(u.Path, "//")
	if !found {
		return nil
	}
	clean := path.Clean(sub)
	if strings.HasPrefix(clean, "/") || clean == ".." || strings.HasPrefix(clean, "../") {
		return fmt.Errorf("the part %q behind // leaves what is fetched", sub)
	}
	u.Path, u.RawPath, s.Subdir = before, "", clean
	if clean == "." {
		s.Subdir = ""
	}
	return nil
}

// finish sets what depends on all else.
func (s *Source) finish(u *url.URL) error {
	u.Fragment = ""
	base := path.Base(u.Path)
	if s.Filename == "" && base != "/" && base != "." && base != ".." {
		s.Filename = base
	}
	switch {
	case s.Getter == getGit:
		s.Archive = ""
		if s.Sum.Type != "" {
			return errors.New("a repository has no checksum: name a commit by the option ref")
		}
	case s.Archive == "false":
		s.Archive = ""
	case s.Archive == "" || s.Archive == "true":
		s.Archive, _ = archiveOf(base)
	default:
		kind, ok := archiveOf("." + s.Archive)
		if !ok {
			return fmt.Errorf("option archive %q is unknown: use one of %s, or false", s.Archive, strings.Join(archiveNames(), ", "))
		}
		s.Archive = kind
	}
	s.URL = u.String()
	return nil
}

// suffixes are the ends of names of archives, the longest first, and their
// kinds: a compression, or tar, within which there may be one.
var suffixes = []struct{ suffix, kind string }{
	{".tar.bz2", "tar.bz2"}, {".tar.gz", "tar.gz"}, {".tar.xz", "tar.xz"}, {".tar.zst", "tar.zst"}, {".tbz2", "tar.bz2"}, {".tzst", "tar.zst"},
	{".tgz", "tar.gz"}, {".txz", "tar.xz"}, {".tar", "tar"}, {".zip", "zip"}, {".bz2", "bz2"}, {".zst", "zst"}, {".gz", "gz"}, {".xz", "xz"},
}

func archiveOf(name string) (kind string, ok bool) {
	for _, s := range suffixes {
		if strings.HasSuffix(strings.ToLower(name), s.suffix) {
			return s.kind, true
		}
	}
	return "", false
}

func archiveNames() (out []string) {
	for _, s := range suffixes {
		out = append(out, s.suffix[1:])
	}
	return out
}
