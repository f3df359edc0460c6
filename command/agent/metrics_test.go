package agent

import (
	"bytes"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/armon/go-metrics"

	"github.com/nomadlite/nomadlite/command/agent/config"
)

// TestTelemetry tells one measure to the memory, Prometheus and statsd, and one
// that the filter holds back to nobody.
func TestTelemetry(t *testing.T) {
	statsd, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer statsd.Close()
	cfg := config.Default()
	cfg.NodeName = "here"
	cfg.Telemetry.PrometheusMetrics = true
	cfg.Telemetry.StatsdAddress = statsd.LocalAddr().String()
	cfg.Telemetry.PrefixFilter = []string{"-nomad.secret"}
	tel, err := setUpTelemetry(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = metrics.NewGlobal(metrics.DefaultConfig("nomad"), &metrics.BlackholeSink{}) })
	metrics.SetGauge([]string{"nomad", "broker", "total_ready"}, 7)
	metrics.SetGauge([]string{"secret", "thing"}, 1)

	var text bytes.Buffer
	if err := tel.writePrometheus(&text); err != nil {
		t.Fatal(err)
	}
	if got := text.String(); !strings.Contains(got, `nomad_nomad_broker_total_ready{host="here"} 7`) || strings.Contains(got, "secret_thing") {
		t.Errorf("Prometheus:\n%s", got)
	}
	gauges := tel.inmem.Data()[0].Gauges
	if _, told := gauges["nomad.nomad.broker.total_ready;host=here"]; !told {
		t.Errorf("memory: %v", gauges)
	}
	if err := statsd.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for seen, buf := "", make([]byte, 1<<16); !strings.Contains(seen, "nomad.nomad.broker.total_ready.here:7.000000|g\n"); {
		n, _, err := statsd.ReadFrom(buf)
		if err != nil {
			t.Fatalf("statsd: %v after %q", err, seen)
		}
		if seen += string(buf[:n]); strings.Contains(seen, "secret.thing") {
			t.Fatalf("statsd: %q", seen)
		}
	}
}
