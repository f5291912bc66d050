package supir_test

import (
	"context"
	"errors"
	"fmt"
	"image"
	"os"

	"supir"
	"supir/embedded"
	"supir/photo"
)

// From file to file, with the small embedded model.
func Example() {
	m, err := supir.New(embedded.Files())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	defer m.Close()
	in, err := photo.Read("old.jpg", photo.ReadOptions{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	opts := supir.Fidelity
	opts.Upscale = 2
	r, err := m.Restore(context.Background(), in.Image, opts)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	if err := photo.Write("restored.png", in.With(r.Image), photo.WriteOptions{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

// What a picture would take, before anything is loaded.
func ExampleModel_Plan() {
	m, err := supir.New(embedded.Files())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer m.Close()
	p, err := m.Plan(image.Pt(320, 200), supir.Options{Upscale: 2, MinSize: 256, Steps: 20, Device: "cpu"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%d×%d, worked on at %d×%d in %d steps\n", p.Width, p.Height, p.WorkWidth, p.WorkHeight, p.Steps)
	// Output: 640×400, worked on at 640×384 in 20 steps
}

// Errors tell which option cannot be, and what could be.
func ExampleOptionError() {
	m, err := supir.New(embedded.Files())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer m.Close()
	_, err = m.Restore(context.Background(), image.NewGray(image.Rect(0, 0, 8, 8)), supir.Options{Steps: 5000})
	var option *supir.OptionError
	if errors.As(err, &option) {
		fmt.Printf("%s: %s\n", option.Option, option.Reason)
	}
	// Output: Steps: 5000 is not in [1, 1000]
}

// album is a Captioner that knows its pictures. Others may ask a model of their
// own, or a service.
type album string

// Caption may look at the cleaned picture; this one need not.
func (a album) Caption(_ context.Context, cleaned image.Image) (string, error) {
	return string(a), nil
}

// A Captioner of one's own. The quality words follow its words at once, so that
// these end in a full stop and a space.
func ExampleCaptioner() {
	m, err := supir.New(embedded.Files())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	defer m.Close()
	in, err := photo.Read("wedding.jpg", photo.ReadOptions{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	r, err := m.Restore(context.Background(), in.Image, supir.Options{Captioner: album("a bride and a groom on church steps. ")})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	fmt.Println(r.Caption, r.Image.Bounds())
}
