package fsm

import (
	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// Type is the kind of a command. Numbers are part of the log's format: they
// are never reused or changed. 10 and 80 were used before the first release.
type Type uint16

// Commands, with their payloads.
const (
	Epoch                 Type = 1   // state.Epoch
	JobRegister           Type = 2   // state.JobRegister
	JobDeregister         Type = 3   // state.JobDeregister
	JobScale              Type = 4   // state.JobScale
	JobStability          Type = 5   // state.JobStability
	JobTag                Type = 6   // state.JobTag
	EvalUpsert            Type = 7   // state.EvalUpsert
	EvalDelete            Type = 8   // state.EvalDelete
	PlanApply             Type = 9   // structs.Plan, columnar
	AllocTransition       Type = 11  // state.AllocTransition
	NodeRegister          Type = 12  // state.NodeRegister
	NodeStatus            Type = 13  // state.NodeStatus
	NodeEligibility       Type = 14  // state.NodeEligibility
	NodeDrain             Type = 15  // state.NodeDrain
	NodeDelete            Type = 16  // state.NodeDelete
	DeploymentUpsert      Type = 17  // state.DeploymentUpsert
	DeploymentStatus      Type = 18  // state.DeploymentStatus
	DeploymentPromote     Type = 19  // state.DeploymentPromote
	DeploymentAllocHealth Type = 20  // state.DeploymentAllocHealth
	Collect               Type = 21  // state.Collect
	SchedulerConfig       Type = 22  // state.SchedulerConfig
	NamespaceUpsert       Type = 24  // state.NamespaceUpsert
	NamespaceDelete       Type = 25  // state.NamespaceDelete
	NodePoolUpsert        Type = 26  // state.NodePoolUpsert
	NodePoolDelete        Type = 27  // state.NodePoolDelete
	RootKeyAdd            Type = 40  // state.RootKeyAdd
	AutopilotConfig       Type = 60  // state.AutopilotConfig
	VariableSet           Type = 41  // state.VariableSet
	VariableDelete        Type = 42  // state.VariableDelete
	RootKeyState          Type = 61  // state.RootKeyState
	RootKeyDelete         Type = 62  // state.RootKeyDelete
	VariableRekey         Type = 63  // state.VariableRekey
	HostVolumeUpsert      Type = 70  // state.HostVolumeUpsert
	HostVolumeDelete      Type = 71  // state.HostVolumeDelete
	AllocReports          Type = 81  // state.AllocUpdates, in kinds
	ServicesUpdate        Type = 75  // state.ServicesUpdate
	ServiceDelete         Type = 76  // state.ServiceDelete
	ScalingEventAdd       Type = 51  // state.ScalingEventAdd
	ChildrenLaunch        Type = 120 // state.ChildrenLaunch
)

// command is a row of the table of appliers.
type command struct {
	name   string
	schema uint8                                          // the newest schema of the payload that this build reads
	limit  int                                            // of the encoded payload, in bytes
	encode func(head []byte, payload any) ([]byte, error) // appended to head
	apply  func(t *state.Txn, payload []byte) (any, error)
	decode func(payload []byte) (any, error)
}

// Describe names the command of an entry and decodes its payload, for people
// who look at a log.
func Describe(data []byte) (command string, payload any, err error) {
	t, body, skip, err := open(data)
	if err != nil || skip {
		return name(t), nil, err
	}
	payload, err = commands[t].decode(body)
	return name(t), payload, err
}

var commands = map[Type]command{
	Epoch:                 done("Epoch", (*state.Txn).Epoch),
	JobRegister:           withJob(result("JobRegister", (*state.Txn).RegisterJob)),
	JobDeregister:         result("JobDeregister", (*state.Txn).DeregisterJob),
	JobScale:              result("JobScale", (*state.Txn).ScaleJob),
	JobStability:          result("JobStability", (*state.Txn).SetJobStability),
	JobTag:                done("JobTag", (*state.Txn).TagJob),
	EvalUpsert:            done("EvalUpsert", (*state.Txn).UpsertEvals),
	EvalDelete:            done("EvalDelete", (*state.Txn).DeleteEvals),
	PlanApply:             plan("PlanApply"),
	AllocReports:          reports("AllocReports"),
	AllocTransition:       done("AllocTransition", (*state.Txn).UpdateAllocTransitions),
	NodeRegister:          done("NodeRegister", (*state.Txn).RegisterNode),
	NodeStatus:            done("NodeStatus", (*state.Txn).UpdateNodeStatus),
	NodeEligibility:       done("NodeEligibility", (*state.Txn).UpdateNodeEligibility),
	NodeDrain:             done("NodeDrain", (*state.Txn).UpdateNodeDrain),
	NodeDelete:            done("NodeDelete", (*state.Txn).DeleteNodes),
	DeploymentUpsert:      done("DeploymentUpsert", (*state.Txn).UpsertDeployment),
	DeploymentStatus:      withJob(done("DeploymentStatus", (*state.Txn).UpdateDeploymentStatus)),
	DeploymentPromote:     done("DeploymentPromote", (*state.Txn).PromoteDeployment),
	DeploymentAllocHealth: withJob(done("DeploymentAllocHealth", (*state.Txn).SetDeploymentAllocHealth)),
	Collect:               done("Collect", (*state.Txn).Collect),
	SchedulerConfig:       done("SchedulerConfig", (*state.Txn).SetSchedulerConfig),
	ChildrenLaunch:        withJob(done("ChildrenLaunch", (*state.Txn).LaunchChildren)),
	NamespaceUpsert:       done("NamespaceUpsert", (*state.Txn).UpsertNamespaces),
	NamespaceDelete:       done("NamespaceDelete", (*state.Txn).DeleteNamespaces),
	NodePoolUpsert:        done("NodePoolUpsert", (*state.Txn).UpsertNodePools),
	NodePoolDelete:        done("NodePoolDelete", (*state.Txn).DeleteNodePools),
	AutopilotConfig:       done("AutopilotConfig", (*state.Txn).SetAutopilotConfig),
	RootKeyAdd:            done("RootKeyAdd", (*state.Txn).AddRootKey),
	RootKeyState:          done("RootKeyState", (*state.Txn).SetRootKeyState),
	RootKeyDelete:         done("RootKeyDelete", (*state.Txn).DeleteRootKeys),
	VariableRekey:         done("VariableRekey", (*state.Txn).RekeyVariables),
	VariableSet:           result("VariableSet", (*state.Txn).SetVariable),
	VariableDelete:        result("VariableDelete", (*state.Txn).DeleteVariable),
	HostVolumeUpsert:      done("HostVolumeUpsert", (*state.Txn).UpsertHostVolume),
	HostVolumeDelete:      done("HostVolumeDelete", (*state.Txn).DeleteHostVolume),
	ServicesUpdate:        done("ServicesUpdate", (*state.Txn).UpdateServices),
	ScalingEventAdd:       done("ScalingEventAdd", (*state.Txn).AddScalingEvent),
	ServiceDelete:         done("ServiceDelete", (*state.Txn).DeleteService),
}

// result makes a row from a verb that answers something.
func result[P, R any](name string, verb func(*state.Txn, *P) (R, error)) command {
	return command{
		name:   name,
		schema: 1,
		limit:  MaxEntry,
		encode: func(head []byte, payload any) ([]byte, error) {
			p, ok := payload.(*P)
			if !ok || p == nil {
				return nil, wrongPayload[P](name, payload)
			}
			return state.Append(head, p)
		},
		apply: func(t *state.Txn, payload []byte) (any, error) {
			p := new(P)
			if err := state.Decode(payload, p); err != nil {
				return nil, &CorruptError{Command: name, Err: err}
			}
			return verb(t, p)
		},
		decode: func(payload []byte) (any, error) {
			p := new(P)
			return p, state.Decode(payload, p)
		},
	}
}

// withJob gives a row the room that a job and its source need.
func withJob(c command) command {
	c.limit = MaxJobEntry
	return c
}

// done makes a row from a verb that only succeeds or fails.
func done[P any](name string, verb func(*state.Txn, *P) error) command {
	return result(name, func(t *state.Txn, p *P) (any, error) { return nil, verb(t, p) })
}

// plan makes the row of plans, which have an encoding of their own.
func plan(name string) command {
	return command{
		name:   name,
		schema: 1,
		limit:  MaxEntry,
		encode: func(head []byte, payload any) ([]byte, error) {
			p, ok := payload.(*structs.Plan)
			if !ok || p == nil {
				return nil, wrongPayload[structs.Plan](name, payload)
			}
			b, err := encodePlan(p)
			return append(head, b...), err
		},
		decode: func(payload []byte) (any, error) { return decodePlan(payload) },
		apply: func(t *state.Txn, payload []byte) (any, error) {
			p, err := decodePlan(payload)
			if err != nil {
				return nil, &CorruptError{Command: name, Err: err}
			}
			return t.ApplyPlan(p)
		},
	}
}
