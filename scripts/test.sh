#!/usr/bin/env bash
# Runs all tests of both modules and ends with a count of skips.
set -euo pipefail
cd "$(dirname "$0")/.."
export CGO_ENABLED=0
mkdir -p bin
out=$PWD/bin/test.log # the whole output, also of what passed
: >"$out"

# What tests start inherits a mark, by which what they leave is found.
export NOMADLITE_TEST_RUN=$$
left() {
  for dir in /proc/[0-9]*; do
    if [ "${dir#/proc/}" != $$ ] && grep -qzx "NOMADLITE_TEST_RUN=$$" "$dir/environ" 2>/dev/null; then
      echo "${dir#/proc/} $(tr '\0' ' ' <"$dir/cmdline")"
    fi
  done
}

status=0
run() { # dir, packages...
  local dir=$1; shift
  (cd "$dir" && go test -shuffle=on -count=1 -timeout 15m -v "$@" 2>&1) >>"$out" || status=1
}

go build -trimpath -o bin/nomadlite .
run . ./...
# Who a user is must not depend on how the binary is built: row X-05.
if command -v gcc >/dev/null; then CGO_ENABLED=1 run . -run _X05 ./drivers/executor; fi
NOMADLITE_BIN=$PWD/bin/nomadlite run e2e -p 1 ./...

processes=$(left)
if [ -n "$processes" ]; then
  echo "---- processes that tests left"
  echo "$processes"
  status=1
fi

grep -E '^(ok|FAIL|panic:|\?.*no test files)' "$out" | grep -v 'no test files' || true
if ((status)); then
  echo
  echo "---- failures"
  grep -nE '^\s*--- FAIL' "$out" || true
  # The lines around each failure, and everything of a package that broke.
  awk '/^=== (RUN|CONT|NAME)/{next} /--- FAIL|FAIL\t|panic:|Error|_test.go:[0-9]+:/ && n++ < 200' "$out"
fi
passed=$(grep -cE '^\s*--- PASS' "$out" || true)
failed=$(grep -cE '^\s*--- FAIL' "$out" || true)
skipped=$(grep -cE '^\s*--- SKIP' "$out" || true)
if ((skipped)); then
  echo "---- skipped, with reasons"
  grep -A1 -E '^\s*--- SKIP' "$out" | grep -v '^--$' || true
fi
echo "$passed passed, $failed failed, $skipped skipped"
exit $status
