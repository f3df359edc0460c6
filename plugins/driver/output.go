package driver

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// OpenOutput opens a task's StdoutPath or StderrPath for writing. The agent
// holds FIFOs open for reading, so this never blocks: a FIFO that nobody reads
// is a recoverable error. Writes through the file wait as usual, but its
// descriptor is non-blocking: change that before a child process gets it.
func OpenOutput(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|syscall.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, syscall.ENXIO):
		return nil, Recoverable(fmt.Errorf("cannot write the task's output: nobody reads %s, the log collector is not running", path))
	case err != nil:
		return nil, Recoverable(fmt.Errorf("cannot write the task's output: %w", err))
	}
	return f, nil
}
