package rootfs

import "testing"

// TestPlace_N10: whatever a path holds after interpolation, it stays in the
// task's directory or the shared one.
func TestPlace_N10(t *testing.T) {
	dir := NewAllocDir("/var/alloc", "id", []TaskDir{{Name: "web"}, {Name: "other"}})
	for name, want := range map[string]string{
		"local/a.conf": "web/local/a.conf", "/local/a": "web/local/a", "/secrets/x": "web/secrets/x", "secrets/../local/b": "web/local/b",
		"/alloc/data/x": "alloc/data/x", "../alloc/y": "alloc/y", "/var/alloc/id/web/secrets/z": "web/secrets/z", "/var/alloc/id/alloc/q": "alloc/q",
		"/etc/cron.d/x":      "web/etc/cron.d/x",
		"../other/secrets/x": "", "../../../etc/passwd": "", "/var/alloc/id/other/local/x": "", "/var/alloc/id/../../x": "", "/../../etc/x": "", "..": "", "": "", "local\x00": "",
		"/alloc/../other/x": "web/other/x",
	} {
		got, err := dir.Place("web", name)
		if want == "" && err == nil || want != "" && (err != nil || got != want) {
			t.Errorf("Place(%q) = %q, %v; want %q", name, got, err, want)
		}
	}
}
