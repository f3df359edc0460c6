package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// gitSettings are those of every call: nothing of the machine's configuration,
// nothing that a repository brings runs (hooks, filters, file system monitors),
// and no transport but the allowed ones.
var gitSettings = []string{
	"core.hooksPath=/dev/null", "core.fsmonitor=false", "core.attributesFile=/dev/null", "core.askPass=/bin/false", "credential.helper=", "protocol.allow=never",
	"protocol.https.allow=always", "protocol.http.allow=always", "protocol.ssh.allow=always", "protocol.file.allow=never", "protocol.ext.allow=never",
	"http.followRedirects=initial", "http.proxyAuthMethod=basic", "fetch.fsckObjects=true", "transfer.fsckObjects=true", "receive.fsckObjects=true",
	"init.defaultBranch=main", "advice.detachedHead=false", "gc.auto=0", "submodule.recurse=false", "init.templateDir=",
}

// maxGitText bounds what we keep of git's output.
const maxGitText = 2 << 10

// git is one clone.
type git struct {
	job  *job
	env  []string
	opts []string
}

// clone makes the tree of a repository.
func (j *job) clone(ctx context.Context) error {
	if _, err := exec.LookPath("git"); err != nil {
		return errors.New("the node has no git: install it on the client, or take an archive over https")
	}
	u, err := url.Parse(j.Source.URL)
	if err != nil {
		return err
	}
	w := &web{deny: j.Deny}
	proxy, stop, err := w.serveProxy(j)
	if err != nil {
		return err
	}
	defer stop()
	g := &git{job: j}
	g.env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + j.home(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0", "GIT_ATTR_NOSYSTEM=1",
		"GIT_ALLOW_PROTOCOL=https:http:ssh", "GIT_LFS_SKIP_SMUDGE=1", "LC_ALL=C",
	}
	if os.Getenv("HTTPS_PROXY") == "" && os.Getenv("HTTP_PROXY") == "" { // else the operator's proxy judges
		gitProxy := "http.proxy=" + proxy
		g.opts = append(g.opts, "-c", gitProxy)
	} else {
		g.env = append(g.env, "HTTPS_PROXY="+os.Getenv("HTTPS_PROXY"), "HTTP_PROXY="+os.Getenv("HTTP_PROXY"), "NO_PROXY="+os.Getenv("NO_PROXY"))
	}
	if j.Insecure {
		g.opts = append(g.opts, "-c", "http.sslVerify=false")
	}
	if u.Scheme == "ssh" {
		if err := w.checkHost(ctx, u.Hostname()); err != nil {
			return err
		}
	}
	if err := g.useSSH(); err != nil {
		return err
	}
	return g.checkout(ctx)
}

// home is where git and ssh may keep what they need.
func (j *job) home() string { return filepath.Join(workDir(j.Request), "home") }

// workDir is the work directory as the process sees it.
func workDir(r *Request) string { return r.Dir }

// useSSH tells git how to call ssh: with the job's key alone, asking nobody.
func (g *git) useSSH() error {
	j := g.job
	if err := j.root.Mkdir("home", 0o700); err != nil {
		return err
	}
	check := "yes"
	if j.Insecure {
		check = "no"
	}
	command := "ssh -F /dev/null -o BatchMode=yes -o ConnectTimeout=30 -o UserKnownHostsFile=/dev/null -o IdentityAgent=none -o StrictHostKeyChecking=" + check
	if key := j.Source.SSHKey; key != "" {
		if err := j.root.WriteFile("home/key", []byte(strings.TrimSpace(key)+"\n"), 0o600); err != nil {
			return err
		}
		command += " -o IdentitiesOnly=yes -i " + filepath.Join(j.home(), "key")
	}
	g.env = append(g.env, "GIT_SSH_COMMAND="+command)
	return nil
}

// checkout makes the tree: an empty repository, the wanted commit, its files,
// then its submodules.
func (g *git) checkout(ctx context.Context) error {
	s := g.job.Source
	tree := filepath.Join(workDir(g.job.Request), TreeName)
	if err := g.run(ctx, "", "init", "--quiet", "--template=", tree); err != nil {
		return err
	}
	if err := g.run(ctx, tree, "remote", "add", "origin", s.URL); err != nil {
		return err
	}
	ref := s.Ref
	if ref == "" {
		ref = "HEAD"
	}
	args := []string{"fetch", "--quiet", "--no-recurse-submodules", "--no-tags"}
	if s.Depth > 0 {
		args = append(args, fmt.Sprintf("--depth=%d", s.Depth))
	}
	err := g.run(ctx, tree, append(args, "--", "origin", ref)...)
	if err != nil && commit.MatchString(ref) && len(ref) < 40 { // servers find whole hashes alone
		if err = g.run(ctx, tree, "fetch", "--quiet", "--no-recurse-submodules", "--", "origin", "+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"); err == nil {
			return g.files(ctx, tree, ref)
		}
	}
	if err != nil {
		return err
	}
	return g.files(ctx, tree, "FETCH_HEAD")
}

// commit is what may be the beginning of a commit's hash.
var commit = regexp.MustCompile(`^[0-9a-f]{7,40}$`)

func (g *git) files(ctx context.Context, tree, what string) error {
	if err := g.run(ctx, tree, "checkout", "--quiet", "--force", "--detach", what); err != nil {
		return err
	}
	if info, err := g.job.root.Lstat(TreeName + "/.gitmodules"); err != nil || !info.Mode().IsRegular() {
		return nil
	}
	args := []string{"submodule", "--quiet", "update", "--init", "--recursive", "--checkout"}
	if g.job.Source.Depth > 0 {
		args = append(args, fmt.Sprintf("--depth=%d", g.job.Source.Depth))
	}
	return g.run(ctx, tree, args...)
}

// run calls git.
func (g *git) run(ctx context.Context, dir string, args ...string) error {
	argv := append([]string{}, g.opts...)
	for _, s := range gitSettings {
		argv = append(argv, "-c", s)
	}
	cmd := exec.CommandContext(ctx, "git", append(argv, args...)...)
	cmd.Dir, cmd.Env = dir, g.env
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if err == nil {
		return nil
	}
	text := withoutSecrets.ReplaceAllString(out.String(), "$1")
	text = strings.TrimSpace(text[max(0, len(text)-maxGitText):])
	err = fmt.Errorf("git %s: %s", args[0], text)
	if strings.Contains(text, "Host key verification failed") {
		err = fmt.Errorf("%w: put the server's key into /etc/ssh/ssh_known_hosts of the client", err)
	}
	if strings.Contains(text, "not allowed") || strings.Contains(text, "fsck") {
		return err
	}
	return passing{err}
}

// withoutSecrets finds the credentials of addresses in a text.
var withoutSecrets = regexp.MustCompile(`([a-z]+://)[^/@\s]+@`)

// checkHost judges every address of a host that others dial.
func (w *web) checkHost(ctx context.Context, host string) error {
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if ip, perr := netip.ParseAddr(host); perr == nil {
		ips, err = []netip.Addr{ip}, nil
	}
	if err != nil {
		return passing{err}
	}
	for _, ip := range ips {
		if err := w.allow(ip); err != nil {
			return err
		}
	}
	return nil
}
