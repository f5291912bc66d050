// Command progress restores a picture with weight files of the user's own, tells
// beforehand what that takes and how far it is, and stops on Ctrl-C.
//
//	go run ./examples/progress sdxl.safetensors supir.safetensors old.jpg restored.png
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"time"

	"supir"
	"supir/photo"
)

func main() {
	if len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "usage: progress sdxl.safetensors supir.safetensors picture restored")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	files := supir.Files{SDXL: os.Args[1], SUPIR: os.Args[2]}
	err := restore(ctx, files, os.Args[3], os.Args[4])
	var tooLarge *supir.MemoryError
	switch {
	case errors.Is(err, context.Canceled):
		err = errors.New("interrupted; nothing was written")
	case errors.As(err, &tooLarge):
		err = fmt.Errorf("%w\nthe largest stage has %d MiB of weights", err, weights(&tooLarge.Plan)>>20)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "progress:", err)
		os.Exit(1)
	}
}

func restore(ctx context.Context, files supir.Files, input, output string) error {
	m, err := supir.New(files)
	if err != nil {
		return err
	}
	defer m.Close()
	in, err := photo.Read(input, photo.ReadOptions{})
	if err != nil {
		return err
	}

	opts := supir.Fidelity
	opts.Upscale = 2
	opts.Progress = show
	plan, err := m.Plan(in.Image.Bounds().Size(), opts)
	if err != nil {
		return err
	}
	fmt.Printf("working at %d×%d, %d steps of %d windows, about %d MiB of memory\n",
		plan.WorkWidth, plan.WorkHeight, plan.Steps, plan.Windows, plan.Peak>>20)

	r, err := m.Restore(ctx, in.Image, opts)
	fmt.Println()
	if err != nil {
		return err
	}
	return photo.Write(output, in.With(r.Image), photo.WriteOptions{})
}

// show writes one line over and over. It must not call the model, which is busy.
func show(p supir.Progress) {
	left := ""
	if p.Left > 0 {
		left = fmt.Sprintf(", %v left", p.Left.Round(time.Second))
	}
	fmt.Printf("\r\033[K%s %d/%d%s", p.Stage, p.Step, p.Of, left)
}

// weights is the size of the stage with the most weights.
func weights(p *supir.Plan) (most int64) {
	for _, s := range p.Stages {
		most = max(most, s.Weights)
	}
	return most
}
