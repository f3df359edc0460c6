package client

import (
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/structs"
)

// TestHealthIsGivenToEachDeployment moves a running allocation into another
// deployment in place: the node judges it again, and says for which it did.
func TestHealthIsGivenToEachDeployment(t *testing.T) {
	s := newServers()
	start(t, shortDir(t), s, true)
	a := shell(firstID, structs.JobTypeService, `while :; do sleep 0.05; done`)
	a.Job.TaskGroups[0].Update = &structs.UpdateStrategy{HealthCheck: structs.Ptr("task_states"),
		MinHealthyTime: structs.Ptr(time.Millisecond), HealthyDeadline: structs.Ptr(time.Minute)}
	for _, deployment := range []string{"first", "second"} {
		moved := *a
		moved.DeploymentID = deployment
		s.put(&moved)
		s.await(t, firstID, func(u *structs.AllocUpdate) bool {
			return u.DeploymentID == deployment && structs.Val(u.DeploymentHealthy)
		})
	}
}
