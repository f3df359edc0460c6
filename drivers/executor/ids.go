package executor

import (
	"fmt"
	"os/user"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// idRange is a range of user or group ids, both ends included.
type idRange struct{ lo, hi uint64 }

// DeniedIDs are ids that tasks must not run as.
type DeniedIDs struct{ uids, gids []idRange }

// ParseDenied reads denied_host_uids and denied_host_gids: "0,10-20".
func ParseDenied(uids, gids string) (DeniedIDs, error) {
	u, err := parseIDs("denied_host_uids", uids)
	if err != nil {
		return DeniedIDs{}, err
	}
	g, err := parseIDs("denied_host_gids", gids)
	return DeniedIDs{u, g}, err
}

// DenyRoot adds user 0, by whichever name it is called.
func (d DeniedIDs) DenyRoot() DeniedIDs {
	return DeniedIDs{append([]idRange{{0, 0}}, d.uids...), d.gids}
}

// parseIDs reads "0,10-20".
func parseIDs(field, text string) ([]idRange, error) {
	var out []idRange
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		first, last, ranged := strings.Cut(part, "-")
		if !ranged {
			last = first
		}
		lo, err1 := strconv.ParseUint(first, 10, 32)
		hi, err2 := strconv.ParseUint(last, 10, 32)
		if err1 != nil || err2 != nil || lo > hi {
			return nil, fmt.Errorf("%s: %q is no id and no range of ids like 10-20", field, part)
		}
		out = append(out, idRange{lo, hi})
	}
	return out, nil
}

func within(ranges []idRange, id uint32) bool {
	for _, r := range ranges {
		if uint64(id) >= r.lo && uint64(id) <= r.hi {
			return true
		}
	}
	return false
}

// Credential finds who a task runs as; nil is the agent's own user. Groups of
// the agent are never inherited.
func Credential(name string, denied DeniedIDs) (*syscall.Credential, error) {
	if name == "" {
		if own := uint32(syscall.Getuid()); within(denied.uids, own) {
			return nil, fmt.Errorf("running as uid %d is disallowed", own)
		}
		return nil, nil
	}
	u, err := findUser(name)
	if err != nil {
		return nil, err
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err1 != nil || err2 != nil {
		return nil, fmt.Errorf("user %q has no numeric ids: %s, %s", name, u.Uid, u.Gid)
	}
	cred := &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	groups, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("cannot find the groups of user %q: %w", name, err)
	}
	for _, g := range groups {
		if id, err := strconv.ParseUint(g, 10, 32); err == nil {
			cred.Groups = append(cred.Groups, uint32(id))
		}
	}
	if within(denied.uids, cred.Uid) {
		return nil, fmt.Errorf("running as uid %d is disallowed", cred.Uid)
	}
	for _, g := range append([]uint32{cred.Gid}, cred.Groups...) {
		if within(denied.gids, g) {
			return nil, fmt.Errorf("running as gid %d is disallowed", g)
		}
	}
	return cred, nil
}

// findUser looks a user up by name, then by number. The system's own look-up,
// which cgo brings, takes "00" and "+0" for 0 as well: a number is what is
// written as one, and no user is another than the one who was asked for.
func findUser(name string) (*user.User, error) {
	if strings.ContainsRune(name, 0) { // where C would end it
		return nil, fmt.Errorf("cannot find user %q: no such name", name)
	}
	if u, err := user.Lookup(name); err == nil {
		return u, nil
	}
	uid, err := strconv.ParseUint(name, 10, 32)
	if err != nil || strconv.FormatUint(uid, 10) != name {
		return nil, fmt.Errorf("cannot find user %q: no such name, and no uid such as 1000", name)
	}
	u, err := user.LookupId(name)
	if err != nil || u.Uid != name {
		return nil, fmt.Errorf("cannot find user %q: no user has that uid", name)
	}
	return u, nil
}

// ParseSignal reads "SIGHUP", "hup" or "1".
func ParseSignal(name string) (syscall.Signal, error) {
	upper := strings.ToUpper(strings.TrimSpace(name))
	if n, err := strconv.Atoi(upper); err == nil && n > 0 && n < 65 {
		return syscall.Signal(n), nil
	}
	if !strings.HasPrefix(upper, "SIG") {
		upper = "SIG" + upper
	}
	if sig := unix.SignalNum(upper); sig != 0 {
		return sig, nil
	}
	return 0, fmt.Errorf("Unsupported signal: %s", name)
}
