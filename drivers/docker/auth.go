package docker

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/registry"
)

// Limits of asking for credentials.
const (
	helperTimeout = 10 * time.Second
	maxAuthFile   = 1 << 20
)

// helperName is the part of a program's name after docker-credential-.
var helperName = regexp.MustCompile(`^[A-Za-z0-9_.-]*$`)

// hubServer is what credentials of the public registry are filed under.
const hubServer = "https://index.docker.io/v1/"

// errNoCredentials says that a registry is not known where credentials are
// looked up.
var errNoCredentials = errors.New("no credentials")

// credentials finds what a pull authenticates with: the task's own, the
// plugin's file, the plugin's helper. Nil is an anonymous pull. A failure to
// look is an error unless the task forgives it; neither ever holds a secret.
func credentials(ctx context.Context, image string, tc *taskConfig, files *authFiles) (*registry.AuthConfig, error) {
	if a := tc.Auth; a != nil && a.Username != "" {
		//lint:ignore SA1019 old registries ask for the address
		return &registry.AuthConfig{Username: a.Username, Password: a.Password, Email: a.Email, ServerAddress: a.ServerAddress}, nil
	}
	if files == nil {
		return nil, nil
	}
	domain, err := domainOf(image)
	if err != nil {
		return nil, err
	}
	var found *registry.AuthConfig
	if files.Config != "" {
		found, err = fromFile(ctx, files.Config, domain)
	} else {
		err = errNoCredentials
	}
	if errors.Is(err, errNoCredentials) && files.Helper != "" {
		found, err = fromHelper(ctx, files.Helper, serverOf(domain))
	}
	switch {
	case err == nil:
		return found, nil
	case errors.Is(err, errNoCredentials) || tc.AuthSoftFail:
		return nil, nil
	}
	return nil, fmt.Errorf("cannot find credentials for %s: %w", domain, err)
}

func domainOf(image string) (string, error) {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return "", fmt.Errorf("cannot understand the image name %q: %w", image, err)
	}
	return reference.Domain(named), nil
}

func serverOf(domain string) string {
	if domain == "docker.io" {
		return hubServer
	}
	return domain
}

// authFile is what we read of a docker config.json.
type authFile struct {
	Auths map[string]struct {
		Auth          string `json:"auth"`
		Username      string `json:"username"`
		Password      string `json:"password"`
		IdentityToken string `json:"identitytoken"`
	} `json:"auths"`
	CredHelpers map[string]string `json:"credHelpers"`
	CredsStore  string            `json:"credsStore"`
}

func fromFile(ctx context.Context, path, domain string) (*registry.AuthConfig, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("auth.config: %w", err)
	}
	defer f.Close()
	var file authFile
	if err := json.NewDecoder(io.LimitReader(f, maxAuthFile)).Decode(&file); err != nil {
		return nil, fmt.Errorf("auth.config: %s is not a docker config.json", path)
	}
	if helper := file.CredHelpers[domain]; helper != "" {
		return fromHelper(ctx, helper, serverOf(domain))
	}
	for server, entry := range file.Auths {
		if hostOf(server) != hostOf(serverOf(domain)) {
			continue
		}
		out := &registry.AuthConfig{Username: entry.Username, Password: entry.Password, IdentityToken: entry.IdentityToken, ServerAddress: server}
		if entry.Auth == "" {
			return out, nil
		}
		raw, err := base64.StdEncoding.DecodeString(entry.Auth)
		user, password, ok := strings.Cut(strings.TrimRight(string(raw), "\x00"), ":")
		if err != nil || !ok {
			return nil, fmt.Errorf("auth.config: the auth of %q in %s is not base64 of user:password", server, path)
		}
		out.Username, out.Password = user, password
		return out, nil
	}
	if file.CredsStore != "" {
		return fromHelper(ctx, file.CredsStore, serverOf(domain))
	}
	return nil, errNoCredentials
}

// hostOf cuts scheme and path off a registry's address.
func hostOf(server string) string {
	server = strings.TrimPrefix(strings.TrimPrefix(server, "https://"), "http://")
	host, _, _ := strings.Cut(server, "/")
	return host
}

// fromHelper asks a docker-credential program. Its output is never shown.
func fromHelper(ctx context.Context, helper, server string) (*registry.AuthConfig, error) {
	if helper == "" || !helperName.MatchString(helper) {
		return nil, fmt.Errorf("credential helper %q is no name of a program", helper)
	}
	ctx, cancel := context.WithTimeout(ctx, helperTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "docker-credential-"+helper, "get")
	cmd.Stdin, cmd.WaitDelay = strings.NewReader(server), time.Second
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		if strings.Contains(out.String(), "credentials not found") {
			return nil, errNoCredentials
		}
		return nil, fmt.Errorf("docker-credential-%s get: %w", helper, err)
	}
	var answer struct{ ServerURL, Username, Secret string }
	if err := json.Unmarshal(out.Bytes(), &answer); err != nil {
		return nil, fmt.Errorf("docker-credential-%s get: the answer is not what the helper protocol says", helper)
	}
	auth := &registry.AuthConfig{Username: answer.Username, Password: answer.Secret, ServerAddress: server}
	if answer.Username == "<token>" {
		auth.Username, auth.Password, auth.IdentityToken = "", "", answer.Secret
	}
	return auth, nil
}
