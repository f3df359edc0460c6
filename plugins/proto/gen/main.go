// Command gen writes the Go stubs of the plugin protocol.
//
// It compiles the .proto files below ../src under the import names of the
// contract, with bufbuild/protocompile instead of a protoc binary, and feeds
// one CodeGeneratorRequest per Go package to protoc-gen-go and
// protoc-gen-go-grpc, both pinned as tools of the module. Run it with
// `make generate`; a test of package gen fails when the stubs are stale.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
)

func main() {
	log.SetFlags(0)
	src := flag.String("src", "src", "directory of the .proto files, laid out by import name")
	out := flag.String("out", ".", "directory that receives one directory per Go package")
	flag.Parse()
	files, err := generate(context.Background(), *src)
	if err != nil {
		log.Fatal(err)
	}
	for name, content := range files {
		if err := write(filepath.Join(*out, name), content); err != nil {
			log.Fatal(err)
		}
	}
}

// write replaces the file at path, making its directory.
func write(path, content string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("cannot make the directory of %s: %w", path, err)
	}
	return os.WriteFile(path, []byte(content), 0o644)
}
