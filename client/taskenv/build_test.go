package taskenv

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nomadlite/nomadlite/structs"
)

// whole is an allocation in which everything is set that has a variable.
func whole() Input {
	task := &structs.Task{Name: "web", Env: map[string]string{
		"A": "${node.unique.name}/${attr.kernel.name}/${meta.rack}", "B": "${A}+${NOMAD_META_color}", "C": "${unknown.name} $HOME %{x}",
		"NOMAD_TASK_DIR": "mine", "D": "${C}",
	}, Meta: map[string]string{"color": "blue", "a-b.c": "${node.class}"}}
	group := &structs.TaskGroup{Name: "g", Tasks: []*structs.Task{task}, Meta: map[string]string{"color": "red", "size": "L"}, Services: []*structs.Service{{
		Connect: &structs.ConsulConnect{SidecarService: &structs.ConsulSidecarService{Proxy: &structs.ConsulProxy{
			Upstreams: []*structs.ConsulUpstream{{DestinationName: "db-main", LocalBindPort: 5432}}}}}}}}
	job := &structs.Job{ID: "shop/dispatch-1", Name: "shop", ParentID: "shop", Region: "eu", Namespace: "prod", Dispatched: true,
		Meta: map[string]string{"color": "green", "given": "1"}, TaskGroups: []*structs.TaskGroup{group},
		ParameterizedJob: &structs.ParameterizedJobConfig{MetaOptional: []string{"given", "left"}}}
	alloc := &structs.Allocation{
		ID: "0a1b2c3d-0000-0000-0000-000000000000", Name: "shop.g[3]", Namespace: "prod", Job: job, TaskGroup: "g",
		NetworkStatus: &structs.AllocNetworkStatus{InterfaceName: "eth0", Address: "172.26.64.2"},
		AllocatedResources: &structs.AllocatedResources{
			Tasks: map[string]*structs.AllocatedTaskResources{
				"web": {Cpu: structs.AllocatedCpuResources{CpuShares: 500, ReservedCores: []uint16{6, 0, 1, 2}}, Memory: structs.AllocatedMemoryResources{MemoryMB: 256, MemoryMaxMB: 512},
					Networks: []*structs.NetworkResource{{IP: "10.0.0.1", DynamicPorts: []structs.Port{{Label: "old", Value: 21000}}}}},
				"peer": {Networks: []*structs.NetworkResource{{IP: "fe80::1", ReservedPorts: []structs.Port{{Label: "rpc", Value: 99}}}}},
			},
			Shared: structs.AllocatedSharedResources{Ports: []structs.PortMapping{
				{Label: "http", Value: 20001, To: 80, HostIP: "10.0.0.1"}, {Label: "ad-min", Value: 20002, HostIP: "2001:db8::1"}, {Label: "static", Value: 53, To: -1, HostIP: "10.0.0.1"}}},
		},
	}
	node := &structs.Node{ID: "n-1", Name: "n1", Datacenter: "dc1", NodeClass: "big", NodePool: "default", CgroupParent: "nomad.slice",
		Attributes: map[string]string{"kernel.name": "linux"}, Meta: map[string]string{"rack": "r7"}}
	return Input{Alloc: alloc, Group: group, Task: task, Node: node, Dirs: Dirs{"/alloc", "/local", "/secrets"}, HostEnv: true,
		Environ: []string{"PATH=/bin", "A=host", "AWS_SECRET_ACCESS_KEY=x", "MY_DB_PASSWORD=x", "CONSUL_HTTP_TOKEN=x", "NOMAD_TOKEN=x"}}
}

// TestEnvironment holds every variable of the contract (reference runtime.md
// 1) with its value. The agent's own secrets are not among them (N-01).
func TestEnvironment(t *testing.T) {
	env := Build(whole()).Map()
	var got strings.Builder
	for _, name := range slices.Sorted(maps.Keys(env)) {
		got.WriteString(name + "=" + env[name] + "\n")
	}
	if diff := cmp.Diff(wantEnvironment, got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

const wantEnvironment = `A=n1/linux/r7
B=n1/linux/r7+blue
C=${unknown.name} $HOME %{x}
D=${unknown.name} $HOME %{x}
NOMAD_ADDR_ad_min=[2001:db8::1]:20002
NOMAD_ADDR_http=10.0.0.1:20001
NOMAD_ADDR_old=10.0.0.1:21000
NOMAD_ADDR_peer_rpc=[fe80::1]:99
NOMAD_ADDR_static=10.0.0.1:53
NOMAD_ALLOC_ADDR_ad-min=172.26.64.2:20002
NOMAD_ALLOC_ADDR_http=172.26.64.2:80
NOMAD_ALLOC_ADDR_static=172.26.64.2:-1
NOMAD_ALLOC_DIR=/alloc
NOMAD_ALLOC_ID=0a1b2c3d-0000-0000-0000-000000000000
NOMAD_ALLOC_INDEX=3
NOMAD_ALLOC_INTERFACE_ad-min=eth0
NOMAD_ALLOC_INTERFACE_http=eth0
NOMAD_ALLOC_INTERFACE_static=eth0
NOMAD_ALLOC_IP_ad-min=172.26.64.2
NOMAD_ALLOC_IP_http=172.26.64.2
NOMAD_ALLOC_IP_static=172.26.64.2
NOMAD_ALLOC_NAME=shop.g[3]
NOMAD_ALLOC_PORT_ad-min=20002
NOMAD_ALLOC_PORT_http=80
NOMAD_ALLOC_PORT_static=53
NOMAD_CPU_CORES=0-2,6
NOMAD_CPU_LIMIT=500
NOMAD_DC=dc1
NOMAD_GROUP_NAME=g
NOMAD_HOST_ADDR_ad-min=[2001:db8::1]:20002
NOMAD_HOST_ADDR_http=10.0.0.1:20001
NOMAD_HOST_ADDR_static=10.0.0.1:53
NOMAD_HOST_IP_ad-min=2001:db8::1
NOMAD_HOST_IP_http=10.0.0.1
NOMAD_HOST_IP_static=10.0.0.1
NOMAD_HOST_PORT_ad_min=20002
NOMAD_HOST_PORT_http=20001
NOMAD_HOST_PORT_old=21000
NOMAD_HOST_PORT_static=53
NOMAD_IP_ad_min=2001:db8::1
NOMAD_IP_http=10.0.0.1
NOMAD_IP_old=10.0.0.1
NOMAD_IP_peer_rpc=fe80::1
NOMAD_IP_static=10.0.0.1
NOMAD_IPv4_old=10.0.0.1
NOMAD_JOB_ID=shop/dispatch-1
NOMAD_JOB_NAME=shop
NOMAD_JOB_PARENT_ID=shop
NOMAD_MEMORY_LIMIT=256
NOMAD_MEMORY_MAX_LIMIT=512
NOMAD_META_A_B.C=big
NOMAD_META_COLOR=blue
NOMAD_META_GIVEN=1
NOMAD_META_LEFT=
NOMAD_META_SIZE=L
NOMAD_META_a_b.c=big
NOMAD_META_color=blue
NOMAD_META_given=1
NOMAD_META_left=
NOMAD_META_size=L
NOMAD_NAMESPACE=prod
NOMAD_PARENT_CGROUP=nomad.slice
NOMAD_PORT_ad_min=20002
NOMAD_PORT_http=80
NOMAD_PORT_old=21000
NOMAD_PORT_peer_rpc=99
NOMAD_PORT_static=53
NOMAD_REGION=eu
NOMAD_SECRETS_DIR=/secrets
NOMAD_SHORT_ALLOC_ID=0a1b2c3d
NOMAD_TASK_DIR=mine
NOMAD_TASK_NAME=web
NOMAD_UPSTREAM_ADDR_db-main=127.0.0.1:5432
NOMAD_UPSTREAM_ADDR_db_main=127.0.0.1:5432
NOMAD_UPSTREAM_IP_db-main=127.0.0.1
NOMAD_UPSTREAM_IP_db_main=127.0.0.1
NOMAD_UPSTREAM_PORT_db-main=5432
NOMAD_UPSTREAM_PORT_db_main=5432
PATH=/bin
`

// TestWith: what hooks add wins and is taken as it is, so that no value that
// somebody else wrote is looked at for variables (N-10).
func TestWith(t *testing.T) {
	first := Build(whole())
	second := first.With(map[string]string{"A": "${node.unique.name}", "NOMAD_ADDR_x-y": "z"})
	for name, want := range map[string]string{"A": "${node.unique.name}", "NOMAD_ADDR_x_y": "z", "B": "n1/linux/r7+blue"} {
		if got := second.Map()[name]; got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if got := first.Map()["A"]; got != "n1/linux/r7" {
		t.Errorf("the first environment changed: A is %q", got)
	}
}

func TestReplace(t *testing.T) {
	env := Build(whole())
	for in, want := range map[string]string{
		"${A}": "n1/linux/r7", "${attr.kernel.name}": "linux", "${node.datacenter}-${node.region}": "dc1-eu", "${meta.rack}": "r7",
		"${NOMAD_PORT_ad-min}": "20002", "${nope}": "${nope}", "$A $${A} ${A": "$A $n1/linux/r7 ${A", "${a b}": "${a b}", "${node.unique.id}": "n-1",
		"${env.A}": "${env.A}", "": "",
	} {
		if got := env.Replace(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}
