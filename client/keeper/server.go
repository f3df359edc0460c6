package keeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	protocol "github.com/nomadlite/nomadlite/plugins/keeper"
)

// requestTimeout bounds how long a caller may take to say what it wants.
const requestTimeout = 10 * time.Second

// server answers calls.
type server struct {
	log        hclog.Logger
	reaper     *reaper
	plugins    *plugins
	collectors *collectors
	info       protocol.Info
	stop       context.CancelFunc
}

func newServer(dir string, j *journal, log hclog.Logger) *server {
	r := newReaper(j, log)
	return &server{
		log: log, reaper: r, plugins: newPlugins(dir, r, log), collectors: newCollectors(dir, log),
		info: protocol.Info{Version: protocol.Version, Build: build(), Process: self()},
	}
}

// serve accepts calls until ctx ends or a shutdown is asked for. Plugins are
// ended then, tasks are not.
func (s *server) serve(ctx context.Context, l net.Listener) error {
	ctx, s.stop = context.WithCancel(ctx)
	defer s.stop()
	var group sync.WaitGroup
	group.Go(func() { s.reaper.run(ctx) })
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			break
		}
		if err != nil {
			return err
		}
		group.Go(func() { s.handle(ctx, conn) })
	}
	s.plugins.stopAll()
	s.collectors.close()
	group.Wait()
	return nil
}

// handle answers one call.
func (s *server) handle(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(requestTimeout))
	req := &protocol.Request{}
	if err := protocol.ReadLine(conn, req); err != nil {
		return
	}
	_ = conn.SetReadDeadline(time.Time{})
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if req.Op == protocol.OpWait {
		go func() { // a caller that goes away cancels its wait
			_, _ = io.Copy(io.Discard, conn)
			cancel()
		}()
	}
	resp, err := s.answer(ctx, req)
	if err != nil {
		resp = &protocol.Response{Error: err.Error()}
	}
	line, err := json.Marshal(resp)
	if err == nil {
		_ = conn.SetWriteDeadline(time.Now().Add(requestTimeout))
		_, _ = conn.Write(append(line, '\n'))
	}
	if req.Op == protocol.OpShutdown {
		s.stop()
	}
}

func (s *server) answer(ctx context.Context, req *protocol.Request) (*protocol.Response, error) {
	switch {
	case req.Op == protocol.OpInfo:
		return &protocol.Response{Info: &s.info}, nil
	case req.Op == protocol.OpStartPlugin && req.Plugin != nil:
		p, err := s.plugins.start(*req.Plugin)
		return &protocol.Response{Plugin: p}, err
	case req.Op == protocol.OpStopPlugin:
		return &protocol.Response{}, s.plugins.stop(req.Name)
	case req.Op == protocol.OpPlugins:
		return &protocol.Response{Plugins: s.plugins.list()}, nil
	case req.Op == protocol.OpStartLogs && req.Logs != nil:
		return &protocol.Response{}, s.collectors.start(*req.Logs)
	case req.Op == protocol.OpStopLogs:
		return &protocol.Response{}, s.collectors.stop(req.Name)
	case req.Op == protocol.OpWait && req.Wait != nil:
		exit, err := s.reaper.wait(ctx, *req.Wait)
		return &protocol.Response{Exit: &exit}, err
	case req.Op == protocol.OpShutdown:
		return &protocol.Response{}, nil
	}
	return nil, fmt.Errorf("cannot answer %q: no such operation, or its argument is missing", req.Op)
}
