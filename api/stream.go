package api

// StreamFrame is one piece of a followed file or log. Frames are JSON objects
// with nothing between them; an empty frame ({}) is a heartbeat.
type StreamFrame struct {
	Offset    int64  `json:",omitempty"` // in File, after Data
	Data      []byte `json:",omitempty"` // at most MaxFrameData
	File      string `json:",omitempty"`
	FileEvent string `json:",omitempty"`
}

// Values of StreamFrame.FileEvent.
const (
	FileDeleted   = "file deleted"
	FileTruncated = "file truncated"
	FileEventLog  = "log" // frames of the monitor
)

// Heartbeat reports whether the frame carries nothing.
func (f *StreamFrame) Heartbeat() bool {
	return f.Offset == 0 && len(f.Data) == 0 && f.File == "" && f.FileEvent == ""
}

// ExecInput is a message from the caller of an exec session. At most one
// field is set; none is a heartbeat.
type ExecInput struct {
	Stdin   *ExecData     `json:"stdin,omitempty"`
	TTYSize *TerminalSize `json:"tty_size,omitempty"`
}

// ExecOutput is a message to the caller of an exec session: one key a message,
// both streams closed before Exited.
type ExecOutput struct {
	Stdout *ExecData   `json:"stdout,omitempty"`
	Stderr *ExecData   `json:"stderr,omitempty"`
	Exited bool        `json:"exited,omitempty"`
	Result *ExecResult `json:"result,omitempty"`
}

// ExecData is a piece of a stream, or its end.
type ExecData struct {
	Data  []byte `json:"data,omitempty"`
	Close bool   `json:"close,omitempty"`
}

// ExecResult is the end of the command; 0 is left out of the JSON.
type ExecResult struct {
	ExitCode int `json:"exit_code,omitempty"`
}

// TerminalSize is the size of a terminal in characters.
type TerminalSize struct {
	Height int `json:"height"`
	Width  int `json:"width"`
}
