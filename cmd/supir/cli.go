package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// streams are what a command reads and writes.
type streams struct {
	in       io.Reader
	out      io.Writer // results, for programs
	err      io.Writer // progress and messages, for people
	terminal bool      // err is a terminal that can show a bar
}

func systemStreams() streams {
	const narrowest = 40 // columns; a terminal that does not know its width says 0
	columns, _, err := term.GetSize(int(os.Stderr.Fd()))
	return streams{in: os.Stdin, out: os.Stdout, err: os.Stderr, terminal: err == nil && columns >= narrowest}
}

// run is the whole program but for signals and the process around it. It
// returns the exit code.
func run(ctx context.Context, args []string, io streams) int {
	root := newRoot(io)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	e := classify(err)
	if !e.told {
		tell(io.err, e)
	}
	return e.code
}

// tell prints an error and what to do about it.
func tell(w io.Writer, e *failure) {
	fmt.Fprintf(w, "supir: %s\n", strings.TrimRight(e.Error(), "\n"))
	if e.hint != "" {
		fmt.Fprintf(w, "hint: %s\n", e.hint)
	}
}

func newRoot(io streams) *cobra.Command {
	root := &cobra.Command{
		Use:                   "supir COMMAND",
		DisableFlagsInUseLine: true,
		Short:                 "Restore photographs",
		Long: `supir restores photographs: blurred, noisy, small or badly compressed ones.

Without weight files it works with a small embedded model, which shows that all
is in order. For real work give it the full model, an SDXL checkpoint and a
SUPIR one, or one file that supir convert has made of them.`,
		Example: `  supir restore old.jpg -o restored.png
  supir restore old.jpg --upscale 2 --sdxl sd_xl_base_1.0.safetensors --supir SUPIR-v0Q.safetensors
  supir restore box-of-photos/ -o restored/
  supir doctor`,
		Version:       version().String(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("see `supir help`", "no command %q", args[0])
			}
			return cmd.Help()
		},
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetIn(io.in)
	root.SetOut(io.out)
	root.SetErr(io.err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("see `"+cmd.CommandPath()+" --help`", "%s", err)
	})
	root.SetUsageFunc(usage)
	root.AddCommand(newRestore(io), newPlan(io), newCaption(io), newConvert(io), newInspect(io), newDoctor(io), newBench(io), newVersion(io))
	return root
}

// exitCodesHelp is the part of a command's help on exit codes.
const exitCodesHelp = `Exit codes: 0 all is well; 1 some or all pictures failed; 2 the command line
cannot be carried out, nothing was begun; 3 the weights cannot be used; 4 not
enough memory; 130 interrupted.`

// noArguments allows flags only.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("see `"+cmd.CommandPath()+" --help`", "%s takes no %q", cmd.CommandPath(), args[0])
	}
	return nil
}
