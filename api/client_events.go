package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
)

// EventFrame is what one index changed; without events it is a heartbeat.
type EventFrame struct {
	Index  uint64
	Events []Event
}

// Event is one changed object.
type Event struct {
	Topic      string
	Type       string
	Key        string
	Namespace  string
	FilterKeys []string
	Index      uint64
	Payload    json.RawMessage
}

// EventReader reads the frames of an event stream.
type EventReader struct {
	body io.ReadCloser
	dec  *json.Decoder
}

// Events follows changes. Topics are "Topic", "Topic:key" or "Topic:*"; none
// is every topic. From is the first index that is wanted, 0 for what is new.
// The caller closes the reader.
func (c *Client) Events(ctx context.Context, topics []string, from uint64, q *QueryOptions) (*EventReader, error) {
	path := "/v1/event/stream"
	if len(topics) > 0 {
		path += "?" + repeat("topic", topics)
	}
	if from > 0 {
		q = q.with("index", strconv.FormatUint(from, 10))
	}
	body, err := c.open(ctx, path, q)
	if err != nil {
		return nil, err
	}
	return &EventReader{body: body, dec: json.NewDecoder(body)}, nil
}

// Next returns the next frame, heartbeats included, or io.EOF.
func (r *EventReader) Next() (*EventFrame, error) {
	f := &EventFrame{}
	if err := r.dec.Decode(f); err != nil {
		if err == io.EOF {
			return nil, err
		}
		return nil, fmt.Errorf("cannot read the event stream: %w", err)
	}
	return f, nil
}

// Close ends the stream.
func (r *EventReader) Close() error { return r.body.Close() }
