package nomadlite

import "context"

func (s *Server) CollectGarbage(ctx context.Context) error { return s.awaitLeader(ctx) }
