package base

import (
	"errors"
	"fmt"
	"sort"
	"strings"

	"github.com/hashicorp/go-version"
)

// ErrNoCommonVersion says that host and plugin speak no common version of
// their protocol: the plugin is left out, the agent goes on.
var ErrNoCommonVersion = errors.New("no common protocol version")

// NegotiateVersion picks the highest version that both sides speak and returns
// it as the plugin wrote it. An empty plugin list and a version that does not
// parse are errors of the plugin.
func NegotiateVersion(host, plugin []string) (string, error) {
	if len(plugin) == 0 {
		return "", errors.New("the plugin names no protocol version that it speaks")
	}
	ours, err := descending(host)
	if err != nil {
		return "", err
	}
	theirs, err := descending(plugin)
	if err != nil {
		return "", err
	}
	for _, h := range ours {
		for _, p := range theirs {
			if h.Equal(p) {
				return p.Original(), nil
			}
		}
	}
	return "", fmt.Errorf("%w: the agent speaks %s, the plugin %s",
		ErrNoCommonVersion, strings.Join(host, ", "), strings.Join(plugin, ", "))
}

// CheckVersion is an error where a plugin's own version cannot be read.
func CheckVersion(text string) error {
	if _, err := version.NewVersion(text); err != nil {
		return fmt.Errorf("cannot read the plugin's version %q: it is like 1.2.3", text)
	}
	return nil
}

// descending parses versions and sorts them, highest first.
func descending(texts []string) ([]*version.Version, error) {
	out := make([]*version.Version, 0, len(texts))
	for _, text := range texts {
		v, err := version.NewVersion(text)
		if err != nil {
			return nil, fmt.Errorf("cannot parse protocol version %q: %w", text, err)
		}
		out = append(out, v)
	}
	sort.Sort(sort.Reverse(version.Collection(out)))
	return out, nil
}
