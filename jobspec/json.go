package jobspec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/nomadlite/nomadlite/structs"
)

// ParseJSON reads a job in the API's JSON form, with or without the outer
// {"Job": ...}. Durations are integers of nanoseconds. An error is of kind
// structs.Invalid.
func ParseJSON(source []byte) (*structs.Job, error) {
	source = withoutBOM(source)
	if diags := checkSource(source, "job.json", true, maxValues); diags.HasErrors() {
		return nil, structs.Errorf(structs.Invalid, "cannot parse the JSON job: %s", diags[0].Detail)
	}
	var outer struct{ Job *structs.Job }
	if err := decodeJSON(source, &outer); err != nil {
		return nil, err
	}
	if outer.Job != nil {
		return outer.Job, nil
	}
	job := &structs.Job{}
	if err := decodeJSON(source, job); err != nil {
		return nil, err
	}
	if job.ID == "" {
		return nil, structs.Errorf(structs.Invalid, "cannot parse the JSON job: it has no ID; a job looks like {\"Job\": {\"ID\": \"web\", ...}}")
	}
	return job, nil
}

func decodeJSON(source []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(source))
	if err := d.Decode(into); err != nil {
		return structs.Errorf(structs.Invalid, "cannot parse the JSON job: %w (%s)", err, position(source, err, d.InputOffset()))
	}
	if _, err := d.Token(); err != io.EOF {
		return structs.Errorf(structs.Invalid, "cannot parse the JSON job: more text after its end (%s)", position(source, nil, d.InputOffset()))
	}
	return nil
}

// position says where in the source a JSON error is.
func position(source []byte, err error, offset int64) string {
	switch e := err.(type) {
	case *json.SyntaxError:
		offset = e.Offset
	case *json.UnmarshalTypeError:
		offset = e.Offset
	}
	before := source[:min(max(offset, 0), int64(len(source)))]
	line := bytes.Count(before, []byte("\n")) + 1
	column := len(before) - bytes.LastIndexByte(before, '\n')
	return fmt.Sprintf("line %d, column %d", line, column)
}
