package network

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// dropMasquerade removes what the bridge plugin leaves behind where the
// namespace is gone: the rules that masquerade the allocation's addresses,
// which it reads from the interface inside. Rules are found by the comment that
// the plugin gives them.
func dropMasquerade(ctx context.Context, allocID string) error {
	for _, tool := range []string{"iptables", "ip6tables"} {
		save, err := exec.LookPath(tool + "-save")
		if err != nil {
			continue // no rules without it
		}
		rules, err := exec.CommandContext(ctx, save, "-t", "nat").Output()
		if err != nil {
			continue // a kernel without that family
		}
		script := withoutRules(string(rules), allocID)
		if script == "" {
			continue
		}
		cmd := exec.CommandContext(ctx, tool+"-restore", "--noflush", "-w")
		cmd.Stdin = strings.NewReader(script)
		var said bytes.Buffer
		cmd.Stderr = &said
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("cannot remove the rules of allocation %s: %w: %s", allocID, err, bytes.TrimSpace(said.Bytes()))
		}
	}
	return nil
}

// withoutRules is the input for iptables-restore that removes the allocation's
// masquerading from what iptables-save told; "" where it has none.
func withoutRules(rules, allocID string) string {
	comment := `id: \"` + allocID + `\""`
	var out strings.Builder
	for line := range strings.Lines(rules) {
		rest, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "-A POSTROUTING ")
		if !ok || !strings.Contains(rest, comment) {
			continue
		}
		_, chain, ok := strings.Cut(rest, " -j CNI-")
		if !ok || strings.ContainsAny(chain, " \t") {
			continue
		}
		fmt.Fprintf(&out, "-D POSTROUTING %s\n-F CNI-%s\n-X CNI-%s\n", rest, chain, chain)
	}
	if out.Len() == 0 {
		return ""
	}
	return "*nat\n" + out.String() + "COMMIT\n"
}
