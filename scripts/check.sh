#!/usr/bin/env bash
# Formatting, vet, staticcheck (pinned as a Go tool), tidy modules.
set -euo pipefail
cd "$(dirname "$0")/.."
export CGO_ENABLED=0
bad=$(gofmt -l $(git ls-files '*.go'))
if [ -n "$bad" ]; then echo "gofmt would change: $bad" >&2; exit 1; fi
go build -o bin/staticcheck honnef.co/go/tools/cmd/staticcheck # pinned by go.mod; e2e is a module of its own
for dir in . e2e; do
  (cd "$dir" && go vet ./... && "$OLDPWD/bin/staticcheck" ./...)
done
go mod verify >/dev/null
for dir in . e2e; do
  (cd "$dir" && go mod tidy -diff)
done
echo "check: ok"
