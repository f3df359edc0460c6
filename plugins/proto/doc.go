// Package proto holds the plugin protocol: .proto files below src, named and
// numbered as the public contract says, and one Go package of stubs for each
// protobuf package (basepb, driverpb, devicepb, hclspecpb, sharedpb).
//
// The stubs are written by gen; never edit them.
package proto

//go:generate go run ./gen -src src -out .
