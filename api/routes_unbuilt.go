package api

import "strings"

// unbuilt lists the routes of the contract that this build does not have: one
// line a route, "<methods> <path> <capability> <status> <body>". The answers
// are those of the contract's own empty cluster where it has one, otherwise
// 501 with a sentence. A body after 200 is JSON, any other is text; a line
// moves to a table of its own when its route is built.
const unbuilt = `
PUT,POST     /v1/volumes                               ns:csi-write-volume   501 cannot register volumes: they are not in this build
GET          /v1/volumes/claims                        ns:host-volume-read   200 []
DELETE       /v1/volumes/claim/:id                     ns:host-volume-delete 501 cannot delete volume claims: they are not in this build
GET          /v1/volumes/external                      ns:csi-list-volume    501 cannot list external volumes: they are not in this build
GET,PUT,POST,DELETE /v1/volumes/snapshot               ns:csi-list-volume    501 cannot use volume snapshots: they are not in this build
GET          /v1/volume/csi/:id                        ns:csi-read-volume    404 volume not found
PUT,DELETE   /v1/volume/csi/:id                        ns:csi-write-volume   501 cannot change volumes: they are not in this build
PUT          /v1/volume/csi/:id/create                 ns:csi-write-volume   501 cannot create volumes: they are not in this build
DELETE       /v1/volume/csi/:id/delete                 ns:csi-write-volume   501 cannot delete volumes: they are not in this build
DELETE       /v1/volume/csi/:id/detach                 ns:csi-mount-volume   501 cannot detach volumes: they are not in this build
GET          /v1/plugins                               plugin:list           200 []
GET          /v1/plugin/csi/:id                        plugin:read           404 plugin not found
GET,PUT,POST /v1/client/allocation/:id/pause           ns:submit-job|pause-allocation 501 cannot pause tasks: schedules are not in this build
GET          /v1/client/identity                       node:read             501 cannot read node identity: it is not in this build
PUT,POST     /v1/client/identity/renew                 node:write            501 cannot renew node identity: it is not in this build
GET          /v1/agent/schedulers                      agent:read            501 cannot list schedulers: it is not in this build
GET,PUT,POST /v1/agent/schedulers/config               agent:read            501 cannot configure schedulers: it is not in this build
GET          /v1/agent/host                            agent:read            501 cannot describe the host: it is not in this build
GET          /v1/agent/monitor/export                  agent:read            501 cannot export the log: it is not in this build
GET          /v1/operator/upgrade-check/:check         operator:read         501 cannot check upgrades: it is not in this build
GET          /v1/operator/license                      operator:read         204
PUT          /v1/operator/license                      operator:write        501 Nomad Enterprise only endpoint
POST         /v1/operator/utilization                  operator:write        501 Nomad Enterprise only endpoint
GET          /v1/acl/token/self                        none                  200 {"AccessorID":"acls-disabled","SecretID":"","Name":"ACLs disabled","Type":"management","Policies":null,"Roles":null,"Global":false,"CreateTime":"0001-01-01T00:00:00Z","CreateIndex":0,"ModifyIndex":0}
ANY          /v1/acl/:rest...                          none                  400 ACL support disabled
GET          /v1/quotas                                quota:read            501 Nomad Enterprise only endpoint
GET          /v1/quota-usages                          quota:read            501 Nomad Enterprise only endpoint
ANY          /v1/quota                                 quota:write           501 Nomad Enterprise only endpoint
ANY          /v1/quota/:name...                        quota:write           501 Nomad Enterprise only endpoint
GET          /v1/sentinel/policies                     sentinel:read         501 Nomad Enterprise only endpoint
ANY          /v1/sentinel/policy/:name                 sentinel:submit       501 Nomad Enterprise only endpoint
GET          /v1/recommendations                       ns:submit-recommendation 501 Nomad Enterprise only endpoint
ANY          /v1/recommendations/apply                 ns:submit-recommendation 501 Nomad Enterprise only endpoint
ANY          /v1/recommendation                        ns:submit-recommendation 501 Nomad Enterprise only endpoint
ANY          /v1/recommendation/:id                    ns:submit-recommendation 501 Nomad Enterprise only endpoint
`

func unbuiltRoutes() []Route {
	var out []Route
	for line := range strings.Lines(strings.TrimSpace(unbuilt)) {
		out = append(out, fixed(line))
	}
	return out
}
