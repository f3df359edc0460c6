#!/usr/bin/env bash
# Formatting, vet, staticcheck (pinned as a Go tool), tidy modules.
set -euo pipefail
cd "$(dirname "$0")/.."
export CGO_ENABLED=0
bad=$(gofmt -l $(git ls-files '*.go'))
if [ -n "$bad" ]; then echo "gofmt would change: $bad" >&2; exit 1; fi
for dir in . e2e; do
  (cd "$dir" && go vet ./... && go tool staticcheck ./...)
done
go mod verify >/dev/null
for dir in . e2e; do
  (cd "$dir" && go mod tidy -diff)
done
echo "check: ok"
