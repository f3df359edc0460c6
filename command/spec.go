package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/hashicorp/hcl/v2/hclparse"
)

// maxSpec bounds the specification of a namespace or node pool, in bytes.
const maxSpec = 1 << 20

// readSpec reads a specification: a file, or standard input for "-". isFile is
// false when there is no such file, so that the argument is a name.
func readSpec(c *cli, arg string) (text []byte, isFile bool, err error) {
	if arg == "-" {
		text, err = io.ReadAll(io.LimitReader(c.stdin, maxSpec))
		return text, true, err
	}
	f, err := os.Open(arg)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, true, err
	}
	defer f.Close()
	text, err = io.ReadAll(io.LimitReader(f, maxSpec))
	return text, true, err
}

// decodeSpec reads a specification into into (JSON) or shape (HCL, by gohcl
// tags).
func decodeSpec(text []byte, name string, asJSON bool, into, shape any) error {
	if asJSON {
		if err := json.Unmarshal(text, into); err != nil {
			return fmt.Errorf("cannot parse %s as JSON: %w", name, err)
		}
		return nil
	}
	file, diags := hclparse.NewParser().ParseHCL(text, name)
	if !diags.HasErrors() {
		diags = gohcl.DecodeBody(file.Body, nil, shape)
	}
	if diags.HasErrors() {
		return diags
	}
	return nil
}

// textBlock is a block of any attributes, each a text.
type textBlock struct {
	Rest hcl.Body `hcl:",remain"`
}

// texts are the attributes of a block, nil without one.
func (b *textBlock) texts() (map[string]string, error) {
	if b == nil {
		return nil, nil
	}
	attrs, diags := b.Rest.JustAttributes()
	if diags.HasErrors() {
		return nil, diags
	}
	out := map[string]string{}
	for name, attr := range attrs {
		var value string
		if diags := gohcl.DecodeExpression(attr.Expr, nil, &value); diags.HasErrors() {
			return nil, diags
		}
		out[name] = value
	}
	return out, nil
}

// writeExample writes the example of a specification to a new file.
func writeExample(c *cli, what, name, text string, quiet bool) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o660)
	if errors.Is(err, fs.ErrExist) {
		return exitf(1, "File %q already exists", name)
	}
	if err == nil {
		_, err = f.WriteString(text)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return exitf(1, "Failed to write %q: %v", name, err)
	}
	if !quiet {
		fmt.Fprintf(c.stdout, "Example %s specification written to %s\n", what, name)
	}
	return nil
}
