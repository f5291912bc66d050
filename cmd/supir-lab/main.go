// Command supir-lab repeats the experiments of the paper on a user's own
// photographs and writes tables, plots and pictures beside the paper's numbers.
//
//	supir-lab all --photos my-photos --out report
//	supir-lab table1 --photos my-photos --pictures 3
//
// Everything is computed by this library; nothing is copied from an earlier run
// but pictures that were made from the same input, options and weights. A run
// that was interrupted goes on where it stopped.
//
// Exit codes: 0 all is well; 1 something went wrong; 2 the command line cannot be
// carried out; 130 interrupted.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal ends the process
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// A usageError is a command line that cannot be carried out.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// run is the whole program but for signals and the process around it. It
// returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot(stdout, stderr)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	switch usage := (usageError{}); {
	case err == nil:
		return 0
	case ctx.Err() != nil:
		fmt.Fprintln(stderr, "supir-lab: interrupted; the same command goes on from here")
		return 130
	case errors.As(err, &usage):
		fmt.Fprintln(stderr, "supir-lab:", err)
		return 2
	default:
		fmt.Fprintln(stderr, "supir-lab:", err)
		return 1
	}
}
