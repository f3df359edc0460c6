#!/usr/bin/env bash
# make bench: the sets of e2e/bench, `micro` for the benchmarks beside the code,
# `state` for those of the state and the log, `jobspec` for job files and
# `scheduler` for placement and packing alone, `leaks` for what 1,000 starts leave. BENCHFLAGS goes to e2e/bench.
# Prints name, value and unit, separated by tabs.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$PWD/$1
which=${2:-}
if [ "$which" = scheduler ]; then
  go test -run '^$' -bench 'Place|Packing' -benchtime "${BENCHTIME:-20x}" -timeout 60m ./scheduler |
    awk '/^Benchmark/{name=$1; for(i=3;i+1<=NF;i+=2) printf "%s %s\t%s\t%s\n", name, $(i+1), $i, $(i+1)} /^FAIL|panic/{print > "/dev/stderr"; bad=1} END{exit bad}'
  exit
fi
if [ "$which" = leaks ]; then # row I-13 in full
  LEAK_CYCLES="${LEAK_CYCLES:-1000}" go test -run TestCycles_I13 -count=1 -timeout 60m ./client/network >&2
  out=$(LEAK_CYCLES="${LEAK_CYCLES:-1000}" go test -run TestLeaks_I13 -v -count=1 -timeout 60m ./client) || { printf '%s\n' "$out" >&2; exit 1; }
  printf '%s\n' "$out" | sed -n 's/.* after \([0-9]*\) cycles: map\[\(.*\)\]$/cycles:\1 \2 /p' | sed 's/\([^:]*\):\([0-9]*\) /leaks: \1\t\2\tthere\n/g'
  exit
fi
packages=(./...)
case $which in
jobspec) packages=(./jobspec) ;;
state) packages=(./nomadlite/state/... ./nomadlite/raftlog ./nomadlite/blocked) ;;
micro) ;;
*)
  # shellcheck disable=SC2086 # several words
  (cd e2e && go run ./bench -bin "$bin" -set "$which" ${BENCHFLAGS:-})
  ;;
esac
if [ -z "$which" ] || [ "$which" = micro ] || [ "$which" = jobspec ] || [ "$which" = state ]; then
  go test -run '^$' -bench . -benchtime "${BENCHTIME:-1s}" -benchmem "${packages[@]}" 2>/dev/null |
    awk '/^Benchmark/{name=$1; for(i=3;i+1<=NF;i+=2) printf "%s %s\t%s\t%s\n", name, $(i+1), $i, $(i+1)}'
fi
