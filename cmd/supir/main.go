// Command supir restores photographs with SUPIR.
//
//	supir restore old.jpg -o restored.png
//	supir restore box-of-photos/ -o restored/ --upscale 2
//	supir plan old.jpg --upscale 4
//	supir convert --type q8_0 -o model.gguf
//	supir inspect model.gguf
//	supir doctor
//
// `supir help` and `supir help COMMAND` tell the rest.
//
// # Streams
//
// Standard output is for programs and for what was asked for: plans, reports,
// versions and, with --json, one JSON object a line. Everything else goes to
// standard error: progress, warnings, errors.
//
// # Events
//
// `supir restore --json` prints objects that "event" tells apart:
//
//	start     model, pictures: how many there are to restore
//	progress  input, index, stage, step, of, elapsed, left (seconds; left is 0 while unknown)
//	result    input, output, outputs (all samples), width, height, caption, tile_captions, seed,
//	          seconds, notices
//	skip      input, output: left out by --skip-existing
//	error     input ("" if it concerns all), error, hint, code
//	done      restored, failed, skipped, left (not begun), seconds, code: the exit code
//
// Programs should ignore events and members they don't know.
//
// # Exit codes
//
//	0    all is well
//	1    some or all pictures could not be restored; the others were
//	2    the command line cannot be carried out: an unknown flag, a bad value,
//	     an output that exists or cannot be written. Nothing was begun
//	3    the weights cannot be used
//	4    there is not enough memory
//	130  interrupted
//
// Where all pictures of a batch fail, and all for the same reason, the code is
// that reason's. An interrupted program leaves no unfinished files; a second
// interrupt ends it at once.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as nohup asks for
		signals = append(signals, syscall.SIGHUP) // the terminal was closed
	}
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	context.AfterFunc(ctx, stop) // the second signal ends the process
	os.Exit(run(ctx, os.Args[1:], systemStreams()))
}
