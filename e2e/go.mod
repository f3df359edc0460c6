module github.com/nomadlite/nomadlite/e2e

go 1.26.0

replace github.com/nomadlite/nomadlite => ../
