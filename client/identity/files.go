package identity

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/nomadlite/nomadlite/client/alloc"
	"github.com/nomadlite/nomadlite/structs"
)

// variable is the name of an identity's environment variable.
func variable(id *structs.WorkloadIdentity) string {
	if id.Name == structs.DefaultIdentityName {
		return "NOMAD_TOKEN"
	}
	return "NOMAD_TOKEN_" + id.Name
}

// filename is where an identity's file stands, as the task sees it.
func filename(id *structs.WorkloadIdentity) string {
	switch {
	case id.Filepath != "":
		return id.Filepath
	case id.Name == structs.DefaultIdentityName:
		return "secrets/nomad_token"
	}
	return "secrets/nomad_" + id.Name + ".jwt"
}

// write puts a token in place, readable for the task's user alone where the
// host knows that user.
func write(t *alloc.Task, id *structs.WorkloadIdentity, jwt string) error {
	rel, err := t.Dir.Place(t.Spec.Name, t.Env.Replace(filename(id)))
	if err != nil {
		return &alloc.Failure{Kind: structs.TaskSetupFailure, Err: fmt.Errorf("cannot write identity %q: %w", id.Name, err)}
	}
	dir, err := t.Dir.Open()
	if err != nil {
		return err
	}
	defer dir.Close()
	if uid, gid, ok := t.User(); ok {
		err = dir.Replace(rel, []byte(jwt), 0o600, &uid, &gid)
	} else {
		err = dir.Replace(rel, []byte(jwt), 0o644, nil, nil)
	}
	if err != nil {
		return fmt.Errorf("cannot write identity %q to %q: %w", id.Name, filename(id), err)
	}
	return nil
}

// timesFile holds when tokens are renewed, in the task's folder that is the
// agent's alone. The tokens themselves are not in it.
const timesFile = "/private/identities.json"

const maxTimes = 64 << 10

// remember makes durable when tokens are to be renewed.
func remember(t *alloc.Task, tokens map[string]token) error {
	times := map[string]time.Time{}
	for name, tok := range tokens {
		if !tok.renewAt.IsZero() {
			times[name] = tok.renewAt
		}
	}
	if len(times) == 0 {
		return nil
	}
	raw, err := json.Marshal(times)
	if err != nil {
		return err
	}
	dir, err := t.Dir.Open()
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Replace(t.Spec.Name+timesFile, raw, 0o600, nil, nil)
}

// recall reads what remember wrote, nothing where there is nothing.
func recall(t *alloc.Task) (map[string]time.Time, error) {
	dir, err := t.Dir.Open()
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	raw, err := dir.ReadFile(t.Spec.Name+timesFile, maxTimes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var times map[string]time.Time
	if err == nil {
		err = json.Unmarshal(raw, &times)
	}
	return times, err
}
