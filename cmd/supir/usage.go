package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// The headings of flags in help, in order; what is in no group comes first.
const (
	commonFlags   = "Flags"
	resultFlags   = "The result"
	captionGroup  = "Captions"
	samplingFlags = "Sampling"
	fasterFlags   = "Faster sampling, at some loss (docs/speed.md)"
	machineFlags  = "Memory and machine"
)

// groupKey annotates a flag with its group.
const groupKey = "supir_group"

// inGroup puts flags under a heading.
func inGroup(cmd *cobra.Command, group string, names ...string) {
	for _, name := range names {
		_ = cmd.Flags().SetAnnotation(name, groupKey, []string{group}) // fails if there is no such flag
	}
}

// usage prints what follows a command's description in help.
func usage(cmd *cobra.Command) error {
	w := cmd.OutOrStderr()
	fmt.Fprintf(w, "Usage:\n  %s\n", cmd.UseLine())
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(w, "\nCommands:\n")
		for _, c := range cmd.Commands() {
			if c.IsAvailableCommand() || c.Name() == "help" {
				fmt.Fprintf(w, "  %-*s %s\n", cmd.NamePadding(), c.Name(), c.Short)
			}
		}
	}
	if cmd.Example != "" {
		fmt.Fprintf(w, "\nExamples:\n%s\n", cmd.Example)
	}
	for _, group := range []string{commonFlags, resultFlags, captionGroup, samplingFlags, fasterFlags, machineFlags} {
		printGroup(w, cmd, group)
	}
	return nil
}

func printGroup(w io.Writer, cmd *cobra.Command, group string) {
	const columns = 100
	set := pflag.NewFlagSet("", pflag.ContinueOnError)
	set.SortFlags = false
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		of := commonFlags
		if g := f.Annotations[groupKey]; len(g) > 0 {
			of = g[0]
		}
		if of == group {
			set.AddFlag(f)
		}
	})
	if set.HasAvailableFlags() {
		fmt.Fprintf(w, "\n%s:\n%s\n", group, strings.TrimRight(set.FlagUsagesWrapped(columns), "\n"))
	}
}
