package command

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/template"
	"time"
	"unicode/utf8"
)

// noID stands where an object has no id.
const noID = "<none>"

// clean drops control characters, so that no name or message of a job can
// steer the terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if (r < 0x20 && r != '\t') || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			return -1
		}
		return r
	}, s)
}

// printTable writes rows in columns two spaces apart; the first row is the
// header.
func printTable(w io.Writer, rows [][]string) {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(clean(cell)))
		}
	}
	for _, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			cell = clean(cell)
			b.WriteString(cell)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
			}
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

// pair is one line of a key/value block.
type pair struct{ key, val string }

// printPairs writes aligned "Key = value" lines.
func printPairs(w io.Writer, pairs []pair) {
	width := 0
	for _, p := range pairs {
		width = max(width, len(p.key))
	}
	for _, p := range pairs {
		fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("%-*s = %s", width, p.key, clean(p.val)), " "))
	}
}

// title writes a section title, bold on a terminal.
func (c *cli) title(text string) {
	if c.color {
		text = "\033[1m" + text + "\033[0m"
	}
	fmt.Fprintf(c.stdout, "\n%s\n", text)
}

// id shortens an id to what is shown, or keeps it whole when verbose.
func shortID(id string, verbose bool) string {
	switch {
	case id == "":
		return noID
	case verbose || len(id) <= 8:
		return id
	}
	return id[:8]
}

// timestamp shows a time relative to now, or absolute when verbose.
func (c *cli) timestamp(t time.Time, verbose bool) string {
	switch {
	case t.IsZero() || t.Unix() == 0:
		return "N/A"
	case verbose:
		return t.Format(time.RFC3339)
	}
	return ago(c.now().Sub(t))
}

// nanos is a unix nanosecond time, zero when it is unset.
func nanos(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n)
}

// ago shows how long something is past, with its two largest units.
func ago(d time.Duration) string {
	if d < 0 {
		return "in " + coarse(-d)
	}
	return coarse(d) + " ago"
}

// coarse shows a duration with its two largest units: 3d4h, 20m26s, 7s.
func coarse(d time.Duration) string {
	units := []struct {
		name string
		size time.Duration
	}{{"y", 365 * 24 * time.Hour}, {"mo", 30 * 24 * time.Hour}, {"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}}
	for i, u := range units {
		if d < u.size {
			continue
		}
		out := fmt.Sprintf("%d%s", d/u.size, u.name)
		if i+1 < len(units) {
			if n := d % u.size / units[i+1].size; n > 0 {
				out += fmt.Sprintf("%d%s", n, units[i+1].name)
			}
		}
		return out
	}
	return "0s"
}

// bytes shows a size in binary units.
func bytesText(n uint64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	div, exp := uint64(unit), 0
	for m := n / unit; m >= unit; m /= unit {
		div *= unit
		exp++
	}
	return strings.Replace(fmt.Sprintf("%.1f %ciB", float64(n)/float64(div), "KMGTPE"[exp]), ".0 ", " ", 1)
}

// format is the -json and -t options of a verb.
type format struct {
	json bool
	tmpl string
}

func (f *format) asked() bool { return f.json || f.tmpl != "" }

// print writes v as JSON or through the template.
func (f *format) print(w io.Writer, v any) error {
	if f.json && f.tmpl != "" {
		return exitf(1, "Both json and template formatting are not allowed")
	}
	if f.json {
		return printJSON(w, v)
	}
	t, err := template.New("format").Parse(f.tmpl)
	if err != nil {
		return exitf(1, "Error formatting the data: cannot parse the template %q: %v", f.tmpl, err)
	}
	var b strings.Builder
	if err := t.Execute(&b, v); err != nil {
		return exitf(1, "Error formatting the data: %v", err)
	}
	_, err = fmt.Fprintln(w, b.String())
	return err
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "    ")
	return enc.Encode(v)
}
