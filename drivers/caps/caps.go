// Package caps is the arithmetic of Linux capabilities that drivers share:
// which names exist, which a site allows, and what a task ends up with. It
// knows nothing of tasks and sets nothing.
// Facts: reference driver-plugin.md 10.2 and 10.6.
package caps

import (
	"fmt"
	"slices"
	"strings"
)

// All stands for every capability in a list of names.
const All = "all"

// names are the capabilities by number: CAP_CHOWN is 0.
var names = []string{
	"chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap", "linux_immutable",
	"net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner", "sys_module", "sys_rawio",
	"sys_chroot", "sys_ptrace", "sys_pacct", "sys_admin", "sys_boot", "sys_nice", "sys_resource", "sys_time",
	"sys_tty_config", "mknod", "lease", "audit_write", "audit_control", "setfcap", "mac_override", "mac_admin", "syslog",
	"wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf", "checkpoint_restore",
}

// Defaults are what a task has where nothing is configured: those that
// container engines give, without net_raw.
var Defaults = []string{
	"audit_write", "chown", "dac_override", "fowner", "fsetid", "kill", "mknod", "net_bind_service", "setfcap", "setgid",
	"setpcap", "setuid", "sys_chroot",
}

// Engine are what container engines give to a container by default.
var Engine = append([]string{"net_raw"}, Defaults...)

// Number is the kernel's number of a capability.
func Number(name string) (int, bool) {
	i := slices.Index(names, name)
	return i, i >= 0
}

// Parse brings names into lower case without "cap_", sorted and without
// doubles. An unknown name is an error that lists it.
func Parse(field string, list []string) ([]string, error) {
	var out []string
	for _, text := range list {
		name := strings.TrimPrefix(strings.ToLower(strings.TrimSpace(text)), "cap_")
		if _, known := Number(name); !known && name != All {
			return nil, fmt.Errorf("%s: %q is no capability: names are like net_bind_service, or all", field, text)
		}
		out = append(out, name)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// NotAllowedError lists capabilities that were asked for and that the
// driver's allow_caps lacks.
type NotAllowedError struct{ Names []string }

// Error is the contract's text.
func (e *NotAllowedError) Error() string {
	return "driver does not allow the following capabilities: " + strings.Join(e.Names, ", ")
}

// Set is capabilities of a task that are to be added to and taken from what
// a container engine gives by default.
type Set struct{ Add, Drop []string }

// Adjust says what to add to and drop from the engine's defaults, given
// parsed lists. Adding what is not allowed is a *NotAllowedError.
func Adjust(allow, add, drop []string) (Set, error) {
	if denied := missing(add, allow); len(denied) > 0 {
		return Set{}, &NotAllowedError{denied}
	}
	if slices.Contains(drop, All) {
		return Set{Add: add, Drop: []string{All}}, nil
	}
	var out []string
	for _, name := range Engine {
		if !contains(allow, name) || slices.Contains(drop, name) {
			out = append(out, name)
		}
	}
	for _, name := range drop {
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return Set{Add: add, Drop: slices.DeleteFunc(out, func(n string) bool { return slices.Contains(add, n) })}, nil
}

// Effective is what a task has: (defaults that are allowed, less drop) and
// add. Adding what is not allowed is a *NotAllowedError. The result holds no
// "all".
func Effective(allow, add, drop []string) ([]string, error) {
	if denied := missing(add, allow); len(denied) > 0 {
		return nil, &NotAllowedError{denied}
	}
	out := []string{}
	for _, name := range names {
		given := slices.Contains(Defaults, name) && contains(allow, name) && !contains(drop, name)
		if given || contains(add, name) {
			out = append(out, name)
		}
	}
	return out, nil
}

// Mask is the set as the kernel's bits.
func Mask(list []string) uint64 {
	var mask uint64
	for _, name := range list {
		if n, ok := Number(name); ok {
			mask |= 1 << n
		}
	}
	return mask
}

func contains(list []string, name string) bool {
	return slices.Contains(list, name) || slices.Contains(list, All)
}

func missing(wanted, allow []string) []string {
	var out []string
	for _, name := range wanted {
		if !contains(allow, name) {
			out = append(out, name)
		}
	}
	return out
}
