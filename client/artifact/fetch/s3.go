package fetch

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"regexp"
	"strings"
	"time"
)

// bucket is a place in S3, or in what speaks its protocol.
type bucket struct {
	base   url.URL // of the bucket; its path ends without "/"
	region string
	keys   Keys
	client *http.Client
}

var (
	// amazonVirtual is bucket.s3.region.amazonaws.com, amazonPath
	// s3.region.amazonaws.com/bucket; the region may be missing, or be behind a
	// dash.
	amazonVirtual = regexp.MustCompile(`^(.+)\.s3(?:[.-]([a-z0-9-]+))?\.amazonaws\.com$`)
	amazonPath    = regexp.MustCompile(`^s3(?:[.-]([a-z0-9-]+))?\.amazonaws\.com$`)
)

// defaultRegion is where buckets are whose address names no region.
const defaultRegion = "us-east-1"

// bucketOf reads the address of an object: bucket and key.
func bucketOf(s *Source) (b *bucket, key string, err error) {
	u, err := url.Parse(s.URL)
	if err != nil {
		return nil, "", err
	}
	b = &bucket{region: s.Region, keys: s.Keys}
	first, rest, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	region := ""
	switch m := amazonVirtual.FindStringSubmatch(u.Host); {
	case u.Scheme == "s3": // s3://bucket/key
		host := "s3.amazonaws.com"
		if b.region != "" {
			host = "s3." + b.region + ".amazonaws.com"
		}
		b.base, key = url.URL{Scheme: "https", Host: host, Path: "/" + u.Host}, strings.TrimPrefix(u.Path, "/")
	case m != nil:
		region = m[2]
		b.base, key = url.URL{Scheme: u.Scheme, Host: u.Host}, strings.TrimPrefix(u.Path, "/")
	default: // another host serves the same protocol by paths
		if m := amazonPath.FindStringSubmatch(u.Host); m != nil {
			region = m[1]
		}
		b.base, key = url.URL{Scheme: u.Scheme, Host: u.Host, Path: "/" + first}, rest
		if first == "" {
			return nil, "", fmt.Errorf("%s names no bucket", s)
		}
	}
	if b.region == "" {
		b.region = region
	}
	if b.region == "" || b.region == "external-1" {
		b.region = defaultRegion
	}
	return b, key, nil
}

func (b *bucket) request(ctx context.Context, key string, query url.Values) (*http.Request, error) {
	u := b.base
	u.Path += "/" + key
	u.RawPath, u.RawQuery = escapePath(u.Path), canonicalQuery(query)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	keys := b.keys
	if keys.ID == "" { // the operator may lend its own (artifact.set_environment_variables)
		keys = Keys{os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY"), os.Getenv("AWS_SESSION_TOKEN")}
	}
	if keys.ID != "" {
		sign(req, keys, b.region, time.Now())
	}
	return req, nil
}

// getS3 fetches an object, or all objects below a prefix into a folder.
func (j *job) getS3(ctx context.Context) (dir bool, err error) {
	b, key, err := bucketOf(j.Source)
	if err != nil {
		return false, err
	}
	w := &web{deny: j.Deny}
	b.client = &http.Client{Transport: w.transport(j.Insecure), CheckRedirect: func(req *http.Request, _ []*http.Request) error {
		return fmt.Errorf("the bucket is elsewhere (%s): set the option region", req.URL.Host)
	}}
	if j.Mode != "dir" && key != "" && !strings.HasSuffix(key, "/") {
		query := url.Values{}
		if j.Source.Version != "" {
			query.Set("versionId", j.Source.Version)
		}
		status, err := j.object(ctx, b, key, query, RawName)
		if err == nil || j.Mode == "file" || status != http.StatusNotFound {
			return false, err
		}
	}
	if j.Source.Archive != "" && j.Mode == "dir" { // an archive makes a folder too
		if _, err := j.object(ctx, b, key, nil, RawName); err == nil {
			return false, nil
		}
	}
	return true, j.folder(ctx, b, key)
}

func (j *job) object(ctx context.Context, b *bucket, key string, query url.Values, name string) (status int, err error) {
	req, err := b.request(ctx, key, query)
	if err != nil {
		return 0, err
	}
	return j.download(b.client, req, name)
}

// listing is S3's answer to a list request.
type listing struct {
	Contents []struct {
		Key  string
		Size int64
	}
	IsTruncated           bool
	NextContinuationToken string
}

// maxListing bounds one page of a list of objects, in bytes.
const maxListing = 8 << 20

// folder fetches every object below a prefix.
func (j *job) folder(ctx context.Context, b *bucket, prefix string) error {
	if prefix != "" && !strings.HasSuffix(prefix, "/") {
		prefix += "/"
	}
	if err := j.root.Mkdir(TreeName, 0o755); err != nil {
		return err
	}
	count, token := 0, ""
	for {
		page, err := j.list(ctx, b, prefix, token)
		if err != nil {
			return err
		}
		for _, o := range page.Contents {
			rel := strings.TrimPrefix(o.Key, prefix)
			if rel == "" || strings.HasSuffix(rel, "/") { // a marker of a folder
				continue
			}
			if count++; j.Limits.Files > 0 && count > j.Limits.Files {
				return tooMany(j.Limits.Files)
			}
			if err := j.member(ctx, b, o.Key, rel); err != nil {
				return err
			}
		}
		if !page.IsTruncated {
			break
		}
		token = page.NextContinuationToken
	}
	if count == 0 {
		return passing{fmt.Errorf("%s: there is no such object, nor any below it", j.Source)}
	}
	return nil
}

// member fetches one object of a folder.
func (j *job) member(ctx context.Context, b *bucket, key, rel string) error {
	clean, err := inside(rel)
	if err != nil {
		return err
	}
	name := path.Join(TreeName, clean)
	if err := j.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	if _, err := j.object(ctx, b, key, nil, name); err != nil {
		return fmt.Errorf("object %q: %w", key, err)
	}
	return nil
}

func (j *job) list(ctx context.Context, b *bucket, prefix, token string) (*listing, error) {
	query := url.Values{"list-type": {"2"}, "prefix": {prefix}}
	if token != "" {
		query.Set("continuation-token", token)
	}
	req, err := b.request(ctx, "", query)
	if err != nil {
		return nil, err
	}
	resp, err := b.client.Do(req)
	if err != nil {
		return nil, webError(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, statusError(resp.StatusCode)
	}
	page := &listing{}
	if err := xml.NewDecoder(io.LimitReader(resp.Body, maxListing)).Decode(page); err != nil {
		return nil, fmt.Errorf("cannot read the list of objects: %w", err)
	}
	if page.IsTruncated && page.NextContinuationToken == "" {
		return nil, errors.New("cannot read the list of objects: it breaks off")
	}
	return page, nil
}
