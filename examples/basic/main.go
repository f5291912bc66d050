// Command basic restores a picture with the small embedded model.
//
//	go run ./examples/basic old.jpg restored.png
//
// The result's format is that of its name: .jpg, .png or .tif. Metadata,
// transparency and 16 bits are carried over.
package main

import (
	"context"
	"fmt"
	"os"

	"supir"
	"supir/embedded"
	"supir/photo"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: basic picture restored")
		os.Exit(2)
	}
	if err := restore(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "basic:", err)
		os.Exit(1)
	}
}

func restore(input, output string) error {
	m, err := supir.New(embedded.Files())
	if err != nil {
		return err
	}
	defer m.Close()
	in, err := photo.Read(input, photo.ReadOptions{})
	if err != nil {
		return err
	}
	r, err := m.Restore(context.Background(), in.Image, supir.Options{})
	if err != nil {
		return err
	}
	return photo.Write(output, in.With(r.Image), photo.WriteOptions{})
}
