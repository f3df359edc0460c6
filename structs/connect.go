package structs

import "time"

// ConsulConnect joins a service to a Consul service mesh. This build parses it
// and refuses it at registration; see reference jobspec 5.2 for its fields.
type ConsulConnect struct {
	Native         bool                  `hcl:"native"`
	Gateway        *ConsulGateway        `hcl:"gateway,block"`
	SidecarService *ConsulSidecarService `hcl:"sidecar_service,block"`
	SidecarTask    *SidecarTask          `hcl:"sidecar_task,block"`
}

// canonicalize fills in defaults and moves what has older names in JSON.
func (c *ConsulConnect) canonicalize() {
	if t := c.SidecarTask; t != nil {
		setPtr(&t.KillTimeout, DefaultKillTimeout)
		setPtr(&t.ShutdownDelay, 0)
	}
	if s := c.SidecarService; s != nil && s.Proxy != nil {
		s.Proxy.canonicalize()
	}
	if g := c.Gateway; g != nil {
		g.canonicalize()
	}
}

func (p *ConsulProxy) canonicalize() {
	if p.Expose == nil {
		p.Expose = p.ExposeConfig
	}
	p.ExposeConfig = nil
	p.Upstreams = withoutNil(p.Upstreams)
	if e := p.Expose; e != nil {
		if len(e.Paths) == 0 {
			e.Paths = e.Path
		}
		e.Path = nil
		e.Paths = withoutNil(e.Paths)
	}
}

func (g *ConsulGateway) canonicalize() {
	if g.Proxy == nil {
		g.Proxy = &ConsulGatewayProxy{}
	}
	setPtr(&g.Proxy.ConnectTimeout, 5*time.Second)
	if i := g.Ingress; i != nil {
		i.Listeners = withoutNil(i.Listeners)
		for _, l := range i.Listeners {
			setDefault(&l.Protocol, "tcp")
			l.Services = withoutNil(l.Services)
		}
	}
	if t := g.Terminating; t != nil {
		t.Services = withoutNil(t.Services)
	}
}

// ConsulSidecarService describes the sidecar proxy's own service.
type ConsulSidecarService struct {
	Tags                   []string          `hcl:"tags"`
	Port                   string            `hcl:"port"`
	Proxy                  *ConsulProxy      `hcl:"proxy,block"`
	DisableDefaultTCPCheck bool              `hcl:"disable_default_tcp_check"`
	Meta                   map[string]string `hcl:"meta,map"`
}

// SidecarTask overlays the injected proxy task.
type SidecarTask struct {
	Name          string              `hcl:"name"`
	Driver        string              `hcl:"driver"`
	User          string              `hcl:"user"`
	Config        map[string]any      `hcl:"config,free"`
	Env           map[string]string   `hcl:"env,map"`
	Resources     *Resources          `hcl:"resources,block"`
	Meta          map[string]string   `hcl:"meta,map"`
	KillTimeout   *time.Duration      `hcl:"kill_timeout"`
	LogConfig     *LogConfig          `hcl:"logs,block"`
	ShutdownDelay *time.Duration      `hcl:"shutdown_delay"`
	KillSignal    string              `hcl:"kill_signal"`
	VolumeMounts  []*VolumeMount      `hcl:"volume_mount,block"`
	Identities    []*WorkloadIdentity `hcl:"identity,block"`
}

// ConsulProxy configures the sidecar proxy.
type ConsulProxy struct {
	LocalServiceAddress string                  `hcl:"local_service_address"`
	LocalServicePort    int                     `hcl:"local_service_port"`
	Expose              *ConsulExposeConfig     `hcl:"expose,block"`
	Upstreams           []*ConsulUpstream       `hcl:"upstreams,block"`
	TransparentProxy    *ConsulTransparentProxy `hcl:"transparent_proxy,block"`
	Config              map[string]any          `hcl:"config,free"`
	// ExposeConfig is the older name of Expose in JSON.
	ExposeConfig *ConsulExposeConfig `json:",omitempty" hcl:"-"`
}

// ConsulUpstream is a service that the proxied task reaches.
type ConsulUpstream struct {
	DestinationName      string             `hcl:"destination_name"`
	DestinationNamespace string             `hcl:"destination_namespace"`
	DestinationPeer      string             `hcl:"destination_peer"`
	DestinationPartition string             `hcl:"destination_partition"`
	DestinationType      string             `hcl:"destination_type"`
	LocalBindPort        int                `hcl:"local_bind_port"`
	Datacenter           string             `hcl:"datacenter"`
	LocalBindAddress     string             `hcl:"local_bind_address"`
	LocalBindSocketPath  string             `hcl:"local_bind_socket_path"`
	LocalBindSocketMode  string             `hcl:"local_bind_socket_mode"`
	MeshGateway          *ConsulMeshGateway `hcl:"mesh_gateway,block"`
	Config               map[string]any     `hcl:"config,free"`
}

// ConsulExposeConfig lists paths that bypass the proxy.
type ConsulExposeConfig struct {
	Paths []*ConsulExposePath `hcl:"path,block"`
	Path  []*ConsulExposePath `json:",omitempty" hcl:"-"` // the older name of Paths in JSON
}

// ConsulExposePath is one exposed path.
type ConsulExposePath struct {
	Path          string `hcl:"path"`
	Protocol      string `hcl:"protocol"`
	LocalPathPort int    `hcl:"local_path_port"`
	ListenerPort  string `hcl:"listener_port"`
}

// ConsulMeshGateway picks the gateway mode of an upstream.
type ConsulMeshGateway struct {
	Mode string `hcl:"mode"`
}

// ConsulTransparentProxy redirects a task's traffic through the proxy.
type ConsulTransparentProxy struct {
	UID                  string   `hcl:"uid"`
	OutboundPort         uint16   `hcl:"outbound_port"`
	ExcludeInboundPorts  []string `hcl:"exclude_inbound_ports"`
	ExcludeOutboundPorts []uint16 `hcl:"exclude_outbound_ports"`
	ExcludeOutboundCIDRs []string `hcl:"exclude_outbound_cidrs"`
	ExcludeUIDs          []string `hcl:"exclude_uids"`
	NoDNS                bool     `hcl:"no_dns"`
}

// ConsulGateway runs a gateway instead of a sidecar.
type ConsulGateway struct {
	Proxy       *ConsulGatewayProxy           `hcl:"proxy,block"`
	Ingress     *ConsulIngressConfigEntry     `hcl:"ingress,block"`
	Terminating *ConsulTerminatingConfigEntry `hcl:"terminating,block"`
	Mesh        *ConsulMeshConfigEntry        `hcl:"mesh,block"`
}

// ConsulGatewayProxy configures a gateway's proxy.
type ConsulGatewayProxy struct {
	ConnectTimeout                  *time.Duration                       `hcl:"connect_timeout"`
	EnvoyGatewayBindTaggedAddresses bool                                 `hcl:"envoy_gateway_bind_tagged_addresses"`
	EnvoyGatewayBindAddresses       map[string]*ConsulGatewayBindAddress `hcl:"envoy_gateway_bind_addresses,block"`
	EnvoyGatewayNoDefaultBind       bool                                 `hcl:"envoy_gateway_no_default_bind"`
	EnvoyDNSDiscoveryType           string                               `hcl:"envoy_dns_discovery_type"`
	Config                          map[string]any                       `hcl:"config,free"`
}

// ConsulGatewayBindAddress is one listener address of a gateway.
type ConsulGatewayBindAddress struct {
	Name    string `hcl:"name,label"`
	Address string `hcl:"address"`
	Port    int    `hcl:"port"`
}

// ConsulIngressConfigEntry configures an ingress gateway.
type ConsulIngressConfigEntry struct {
	TLS       *ConsulGatewayTLSConfig  `hcl:"tls,block"`
	Listeners []*ConsulIngressListener `hcl:"listener,block"`
}

// ConsulGatewayTLSConfig is the TLS of a gateway.
type ConsulGatewayTLSConfig struct {
	Enabled       bool                       `hcl:"enabled"`
	TLSMinVersion string                     `hcl:"tls_min_version"`
	TLSMaxVersion string                     `hcl:"tls_max_version"`
	CipherSuites  []string                   `hcl:"cipher_suites"`
	SDS           *ConsulGatewayTLSSDSConfig `hcl:"sds,block"`
}

// ConsulGatewayTLSSDSConfig names certificates served by SDS.
type ConsulGatewayTLSSDSConfig struct {
	ClusterName  string `hcl:"cluster_name"`
	CertResource string `hcl:"cert_resource"`
}

// ConsulIngressListener is one port of an ingress gateway.
type ConsulIngressListener struct {
	Port     int                     `hcl:"port"`
	Protocol string                  `hcl:"protocol"`
	Services []*ConsulIngressService `hcl:"service,block"`
}

// ConsulIngressService is one service behind a listener.
type ConsulIngressService struct {
	Name                  string                     `hcl:"name"`
	Hosts                 []string                   `hcl:"hosts"`
	TLS                   *ConsulGatewayTLSConfig    `hcl:"tls,block"`
	RequestHeaders        *ConsulHTTPHeaderModifiers `hcl:"request_headers,block"`
	ResponseHeaders       *ConsulHTTPHeaderModifiers `hcl:"response_headers,block"`
	MaxConnections        *uint32                    `hcl:"max_connections"`
	MaxPendingRequests    *uint32                    `hcl:"max_pending_requests"`
	MaxConcurrentRequests *uint32                    `hcl:"max_concurrent_requests"`
}

// ConsulHTTPHeaderModifiers edits headers that pass a gateway.
type ConsulHTTPHeaderModifiers struct {
	Add    map[string]string `hcl:"add,map"`
	Set    map[string]string `hcl:"set,map"`
	Remove []string          `hcl:"remove"`
}

// ConsulTerminatingConfigEntry configures a terminating gateway.
type ConsulTerminatingConfigEntry struct {
	Services []*ConsulLinkedService `hcl:"service,block"`
}

// ConsulLinkedService is one service behind a terminating gateway.
type ConsulLinkedService struct {
	Name     string `hcl:"name"`
	CAFile   string `hcl:"ca_file"`
	CertFile string `hcl:"cert_file"`
	KeyFile  string `hcl:"key_file"`
	SNI      string `hcl:"sni"`
}

// ConsulMeshConfigEntry configures a mesh gateway; it has no fields.
type ConsulMeshConfigEntry struct{}
