package api

import (
	"net/http"
	"strings"
	"time"

	"github.com/armon/go-metrics"
)

// contractNames are rows whose measure is called otherwise than the row.
var contractNames = map[string]string{
	"job.read": "job.get_job", "job.stop": "job.deregister", "alloc.read": "alloc.get_alloc", "eval.read": "eval.get_eval",
	"deployment.read": "deployment.get_deployment", "node.list": "client.list", "node.read": "client.get_node", "node.allocations": "client.get_allocs",
	"node.drain": "client.update_drain", "node.eligibility": "client.update_eligibility", "node.evaluate": "client.evaluate",
	"node.register": "client.register", "node.heartbeat": "client.update_status", "node.updateAllocs": "client.update_alloc",
}

// measureKey is the name of a row's measure: as many as there are rows.
func measureKey(row string) []string {
	if name := contractNames[row]; name != "" {
		row = name
	}
	return append([]string{"nomad"}, strings.Split(row, ".")...)
}

var (
	keyQuery   = []string{"nomad", "rpc", "query"}
	keyRequest = []string{"nomad", "rpc", "request"}
	keyFailed  = []string{"nomad", "rpc", "request_error"}
)

// measure counts an answered request and the time that it took; a stream's time
// says nothing.
func (m *Mux) measure(row *Route, status int, start time.Time) {
	if row == nil || row.Fixed != nil {
		return
	}
	if row.Meta == MetaRead {
		metrics.IncrCounter(keyQuery, 1)
	} else {
		metrics.IncrCounter(keyRequest, 1)
	}
	if status >= http.StatusInternalServerError {
		metrics.IncrCounter(keyFailed, 1)
	}
	if row.Answer == AnswerJSON || row.Answer == AnswerEmpty {
		metrics.MeasureSince(m.keys[row.Name], start)
	}
}
