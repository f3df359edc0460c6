#!/usr/bin/env bash
# Starts a dev agent in the background, runs the example job, shows what it
# does and what to try next. `dev.sh BIN stop` ends the agent and its tasks.
# DEV_STATE is where its pid and log go, DEV_CONFIG a configuration for it.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$1
state=${DEV_STATE:-.dev}
addr=${NOMAD_ADDR:-http://127.0.0.1:4646}

answers() { "$bin" node status -quiet -filter 'Status == "ready"' 2>/dev/null | grep -q .; }

if [ "${2:-}" = stop ]; then
  if [ -f $state/pid ] && kill -0 "$(cat $state/pid)" 2>/dev/null; then
    "$bin" job stop -purge -yes -detach web >/dev/null 2>&1 || true
    kill -INT "$(cat $state/pid)"
    while kill -0 "$(cat $state/pid)" 2>/dev/null; do read -rt 0.05 <> <(:) || true; done
    echo "stopped the dev agent"
  fi
  rm -rf $state
  exit 0
fi

if answers; then
  echo "==> an agent answers at $addr already; using it"
else
  mkdir -p $state
  echo "==> starting $bin agent -dev (log: $state/agent.log)"
  setsid nohup "$bin" agent -dev ${DEV_CONFIG:+-config "$DEV_CONFIG"} >$state/agent.log 2>&1 </dev/null &
  echo $! >$state/pid
  for _ in $(seq 400); do
    answers && break
    if ! kill -0 "$(cat $state/pid)" 2>/dev/null; then
      echo "the agent ended; its log:" >&2
      tail -n 20 $state/agent.log >&2
      exit 1
    fi
    read -rt 0.05 <> <(:) || true
  done
  answers || { echo "the agent did not become ready within 20 s; see $state/agent.log" >&2; exit 1; }
fi

echo "==> $bin job run docs/examples/web.nomad.hcl"
"$bin" job run docs/examples/web.nomad.hcl
echo
echo "==> $bin job status web"
"$bin" job status web
echo
echo "==> $bin alloc logs -job web"
"$bin" alloc logs -job web
cat <<EOF

The agent and the job go on running. Try:
  $bin job status web             what runs where, and why
  $bin alloc logs -f -job web     follow its output
  $bin alloc exec -job web /bin/sh   a shell beside it
  $bin job plan docs/examples/web.nomad.hcl   what a change would do
  $bin job stop -purge web        end it
  make stop                          end the agent and all that it runs
EOF
