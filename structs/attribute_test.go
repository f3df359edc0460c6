package structs

import "testing"

// TestAttributes: the units of the device protocol compare within one base.
func TestAttributes(t *testing.T) {
	const none = -9 // cannot be compared
	for _, tt := range []struct {
		left, right string
		want        int
	}{
		{"16384MiB", "8 GiB", 1},
		{"8 GiB", "8192MiB", 0},
		{"1GB", "1GiB", -1},
		{"1kB", "1000B", none}, // bytes alone are no unit of the protocol
		{"1kB", "1KB", 0},
		{"1.5 GHz", "1500 MHz", 0},
		{"2GB/s", "1.9GB/s", 1},
		{"2GB/s", "2GB", none},
		{"250 W", "0.25kW", 0},
		{"10", "9", 1},
		{"10", "9.5", 1},
		{"10", "9 MiB", none},
		{"a100", "a100", 0},
		{"a100", "h100", -1},
		{"a100", "100", none},
		{"true", "true", 0},
		{"true", "false", 1},
		{"9223372036854775807", "9223372036854775806", 1},
		{"NaN", "1", none}, // a text
		{"", "1", none},
		{"MiB", "1MiB", none},
	} {
		order, ok := ParseAttribute(tt.left).Compare(ParseAttribute(tt.right))
		if !ok {
			order = none
		}
		if order != tt.want {
			t.Errorf("%q and %q: %d, want %d", tt.left, tt.right, order, tt.want)
		}
	}
	alien := &Attribute{IntVal: new(int64), Unit: "furlong"}
	if _, ok := alien.Compare(ParseAttribute("1 MiB")); ok {
		t.Error("an unknown unit was compared")
	}
}
