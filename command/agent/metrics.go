package agent

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/armon/go-metrics"
	promsink "github.com/armon/go-metrics/prometheus"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"github.com/nomadlite/nomadlite/command/agent/config"
)

// telemetry is the process's one metrics registry. Libraries (raft,
// memberlist) emit to go-metrics' global, so there can be only one.
type telemetry struct {
	inmem    *metrics.InmemSink
	registry *prometheus.Registry // nil without Prometheus
}

var (
	telemetryOnce sync.Once
	telemetryOne  *telemetry
	telemetryErr  error
)

// newTelemetry sets the global metrics up once a process; later calls return
// the first result.
func newTelemetry(cfg *config.Config) (*telemetry, error) {
	telemetryOnce.Do(func() { telemetryOne, telemetryErr = setUpTelemetry(cfg) })
	return telemetryOne, telemetryErr
}

func setUpTelemetry(cfg *config.Config) (*telemetry, error) {
	t := &telemetry{inmem: metrics.NewInmemSink(cfg.Telemetry.InMemoryCollectionInterval, cfg.Telemetry.InMemoryRetentionPeriod)}
	sinks := metrics.FanoutSink{t.inmem}
	if addr := cfg.Telemetry.StatsdAddress; addr != "" {
		sink, err := metrics.NewStatsdSink(addr)
		if err != nil {
			return nil, fmt.Errorf("cannot set up metrics for statsd at %s: %w", addr, err)
		}
		sinks = append(sinks, sink)
	}
	if addr := cfg.Telemetry.StatsiteAddress; addr != "" {
		sink, err := metrics.NewStatsiteSink(addr)
		if err != nil {
			return nil, fmt.Errorf("cannot set up metrics for statsite at %s: %w", addr, err)
		}
		sinks = append(sinks, sink)
	}
	if cfg.Telemetry.PrometheusMetrics {
		t.registry = prometheus.NewRegistry()
		sink, err := promsink.NewPrometheusSinkFrom(promsink.PrometheusOpts{Registerer: t.registry, Expiration: time.Hour})
		if err != nil {
			return nil, fmt.Errorf("cannot set up Prometheus metrics: %w", err)
		}
		sinks = append(sinks, sink)
	}
	conf := metrics.DefaultConfig("nomad")
	conf.EnableHostname = false
	conf.EnableHostnameLabel = !cfg.Telemetry.DisableHostname
	conf.HostName = cfg.NodeName
	conf.ProfileInterval = max(cfg.Telemetry.CollectionInterval, time.Second) * 10
	conf.FilterDefault = cfg.Telemetry.FilterDefault
	for _, f := range cfg.Telemetry.PrefixFilter {
		if f[0] == '+' {
			conf.AllowedPrefixes = append(conf.AllowedPrefixes, f[1:])
		} else {
			conf.BlockedPrefixes = append(conf.BlockedPrefixes, f[1:])
		}
	}
	if _, err := metrics.NewGlobal(conf, sinks); err != nil {
		return nil, fmt.Errorf("cannot set up metrics: %w", err)
	}
	return t, nil
}

// writePrometheus writes the text exposition format.
func (t *telemetry) writePrometheus(w io.Writer) error {
	families, err := t.registry.Gather()
	if err != nil {
		return err
	}
	enc := expfmt.NewEncoder(w, prometheusFormat)
	for _, f := range families {
		if err := enc.Encode(f); err != nil {
			return err
		}
	}
	return nil
}

var prometheusFormat = expfmt.NewFormat(expfmt.TypeTextPlain)

// summary is the newest finished interval, as MetricsSummary.
func (t *telemetry) summary(r *http.Request) (any, error) { return t.inmem.DisplayMetrics(nil, r) }
