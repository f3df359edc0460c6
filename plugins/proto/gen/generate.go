package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/linker"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

// goRoot is the import path below which the Go packages lie.
const goRoot = "github.com/nomadlite/nomadlite/plugins/proto/"

// protoFile is one .proto file: the import name that the contract gives it
// and the Go package that its stubs go to.
type protoFile struct {
	name, goPackage string
}

var protoFiles = []protoFile{
	{"plugins/base/proto/base.proto", "basepb"},
	{"plugins/device/proto/device.proto", "devicepb"},
	{"plugins/drivers/proto/driver.proto", "driverpb"},
	{"plugins/shared/hclspec/hcl_spec.proto", "hclspecpb"},
	{"plugins/shared/structs/proto/attribute.proto", "sharedpb"},
	{"plugins/shared/structs/proto/recoverable_error.proto", "sharedpb"},
	{"plugins/shared/structs/proto/stats.proto", "sharedpb"},
}

// generators are the tools of the module that turn descriptors into Go.
var generators = []string{"protoc-gen-go", "protoc-gen-go-grpc"}

// generate compiles the files below src and returns the stubs: content by
// path ("basepb/base.pb.go").
func generate(ctx context.Context, src string) (map[string]string, error) {
	names := make([]string, len(protoFiles))
	for i, f := range protoFiles {
		names[i] = f.name
	}
	compiler := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{src}}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	compiled, err := compiler.Compile(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("cannot compile the .proto files below %s: %w", src, err)
	}
	descriptors := dependencyOrder(compiled)
	out := make(map[string]string)
	for _, generator := range generators {
		if err := run(ctx, generator, names, descriptors, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// dependencyOrder lists every file once, imports before importers, as
// generators ask for.
func dependencyOrder(files linker.Files) []*descriptorpb.FileDescriptorProto {
	var out []*descriptorpb.FileDescriptorProto
	seen := make(map[string]bool)
	var visit func(f protoreflect.FileDescriptor)
	visit = func(f protoreflect.FileDescriptor) {
		if seen[f.Path()] {
			return
		}
		seen[f.Path()] = true
		imports := f.Imports()
		for i := range imports.Len() {
			visit(imports.Get(i).FileDescriptor)
		}
		out = append(out, descriptorOf(f))
	}
	for _, f := range files {
		visit(f)
	}
	return out
}

// descriptorOf prefers the parsed descriptor, which keeps comments.
func descriptorOf(f protoreflect.FileDescriptor) *descriptorpb.FileDescriptorProto {
	if r, ok := f.(interface {
		FileDescriptorProto() *descriptorpb.FileDescriptorProto
	}); ok {
		return r.FileDescriptorProto()
	}
	return protodesc.ToFileDescriptorProto(f)
}

// run feeds one generator and adds its files to out.
func run(ctx context.Context, generator string, names []string, files []*descriptorpb.FileDescriptorProto, out map[string]string) error {
	var params []string
	goPackage := make(map[string]string)
	for _, f := range protoFiles {
		params = append(params, "M"+f.name+"="+goRoot+f.goPackage+";"+f.goPackage)
		goPackage[f.goPackage] = f.name
	}
	request, err := proto.Marshal(&pluginpb.CodeGeneratorRequest{
		FileToGenerate: names,
		Parameter:      proto.String(strings.Join(params, ",")),
		ProtoFile:      files,
	})
	if err != nil {
		return fmt.Errorf("cannot encode the request for %s: %w", generator, err)
	}
	cmd := exec.CommandContext(ctx, "go", "tool", generator)
	cmd.Stdin = bytes.NewReader(request)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	answer, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("cannot run go tool %s: %w: %s", generator, err, stderr.String())
	}
	var response pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(answer, &response); err != nil {
		return fmt.Errorf("cannot read the answer of %s: %w", generator, err)
	}
	if response.Error != nil {
		return fmt.Errorf("%s: %w", generator, errors.New(response.GetError()))
	}
	for _, f := range response.File {
		name := strings.TrimPrefix(f.GetName(), goRoot)
		if _, ok := goPackage[path.Dir(name)]; !ok {
			return fmt.Errorf("%s wrote %q, outside of %s", generator, f.GetName(), goRoot)
		}
		out[name] = f.GetContent()
	}
	return nil
}
