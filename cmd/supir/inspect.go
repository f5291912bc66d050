package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"supir"
	"supir/internal/weights"
)

func newInspect(streams streams) *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:   "inspect FILE...",
		Short: "Tell what weight files hold",
		Long: `Tells what weight files hold: networks, sizes, types and metadata, and what is
missing for the files to make a model together. Whatever "supir restore" reads
can be inspected, other models' files too.

Exit codes: 0 all files could be read; 2 the command line cannot be carried out;
3 a file could not be read.`,
		Example: `  supir inspect supir-q8_0.gguf
  supir inspect SDXL.safetensors SUPIR.safetensors --json`,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("supir inspect FILE...", "no files given")
			}
			return runInspect(streams, args, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object")
	return cmd
}

// An inspection is what several files hold.
type inspection struct {
	Files    []fileReport `json:"files"`
	Missing  []string     `json:"missing"`  // parts that the files together lack for a model
	Complete bool         `json:"complete"` // the files make a model that can be used
	Flags    string       `json:"flags"`    // how to use it
	Misfit   string       `json:"misfit"`   // why it cannot be used though nothing is missing
}

type fileReport struct {
	File       string               `json:"file"`
	Error      string               `json:"error,omitempty"` // why it cannot be read
	Format     string               `json:"format"`
	Size       int64                `json:"size"`  // bytes on disk
	Holds      string               `json:"holds"` // in words; "" if unknown
	Tensors    int                  `json:"tensors"`
	Parameters int64                `json:"parameters"`
	Types      map[string]typeUsage `json:"types"`
	Networks   []networkReport      `json:"networks"`
	Metadata   map[string]any       `json:"metadata"`

	set *weights.Set
}

type networkReport struct {
	Name         string               `json:"name"`         // "other" for what supir does not use
	Architecture string               `json:"architecture"` // sizes, in words
	Tensors      int                  `json:"tensors"`
	Parameters   int64                `json:"parameters"`
	Size         int64                `json:"size"` // bytes
	Types        map[string]typeUsage `json:"types"`
}

// A typeUsage is how much is stored in a type.
type typeUsage struct {
	Tensors    int   `json:"tensors"`
	Parameters int64 `json:"parameters"`
	Size       int64 `json:"size"` // bytes
}

func runInspect(streams streams, names []string, asJSON bool) error {
	in := inspection{Missing: []string{}}
	var failed error
	for _, name := range names {
		r, err := inspectFile(name)
		if err != nil {
			failed = err
			r.Error = err.Error()
		} else {
			defer r.set.Close()
		}
		in.Files = append(in.Files, r)
	}
	if failed == nil {
		in.together(names)
	}
	var err error
	if asJSON {
		err = printJSON(streams.out, in)
	} else {
		err = in.print(streams.out)
	}
	if err == nil && failed != nil {
		err = &failure{err: failed, code: exitWeights, told: !asJSON && len(names) > 1}
	}
	return err
}

func inspectFile(name string) (fileReport, error) {
	r := fileReport{File: name, Types: map[string]typeUsage{}, Metadata: map[string]any{}, Networks: []networkReport{}}
	format, size, err := sniff(name)
	if err != nil {
		return r, err
	}
	r.Format, r.Size = format, size
	if r.set, err = weights.Open(name); err != nil {
		return r, err
	}
	networks := map[string]*networkReport{}
	for t := range r.set.Tensors() {
		name := weights.NetworkOf(t.Name)
		if name == "" {
			name = "other"
		}
		n := networks[name]
		if n == nil {
			n = &networkReport{Name: name, Types: map[string]typeUsage{}}
			networks[name] = n
		}
		typ, elements, bytes := strings.ToLower(t.DType.String()), int64(t.Elements()), storedSize(t)
		n.Tensors, n.Parameters, n.Size = n.Tensors+1, n.Parameters+elements, n.Size+bytes
		r.Tensors, r.Parameters = r.Tensors+1, r.Parameters+elements
		for _, types := range []map[string]typeUsage{n.Types, r.Types} {
			u := types[typ]
			types[typ] = typeUsage{u.Tensors + 1, u.Parameters + elements, u.Size + bytes}
		}
	}
	for _, name := range []string{"vae", "text", "unet", "adaptor", "connectors", "other"} {
		if n := networks[name]; n != nil {
			n.Architecture = architecture(r.set, name)
			r.Networks = append(r.Networks, *n)
		}
	}
	r.Holds = r.set.LooksLike()
	if of, ok := r.set.Metadata("general.architecture"); ok && r.Holds == "" {
		r.Holds = "a GGUF model of architecture " + show(of)
	}
	for _, key := range r.set.MetadataKeys() {
		r.Metadata[key] = finite(r.set.Value(key))
	}
	return r, nil
}

func storedSize(t *weights.Tensor) int64 {
	block, size := t.DType.Block()
	return int64(t.Elements()) / int64(block) * int64(size)
}

// sniff tells a file's format by what it begins with, and its size; a folder's
// is that of all files in it.
func sniff(name string) (format string, size int64, err error) {
	info, err := os.Stat(name)
	if err != nil {
		return "", 0, err
	}
	if info.IsDir() {
		err = filepath.WalkDir(name, func(_ string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				var info fs.FileInfo
				if info, err = d.Info(); err == nil {
					size += info.Size()
				}
			}
			return err
		})
		return "folder", size, err
	}
	if !info.Mode().IsRegular() { // a pipe would have to be waited for; Open refuses it
		return "", 0, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	start := make([]byte, 16)
	n, err := io.ReadFull(f, start)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return "", 0, err
	}
	return weights.Format(start[:n]), info.Size(), nil
}

// finite is a value of metadata that JSON can hold: numbers that are none become
// texts.
func finite(value any) any {
	switch v := value.(type) {
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Sprint(v)
		}
	case []float64:
		return eachFinite(v)
	case []any:
		return eachFinite(v)
	}
	return value
}

func eachFinite[T any](values []T) []any {
	list := make([]any, len(values))
	for i, v := range values {
		list[i] = finite(v)
	}
	return list
}

// together finds out whether the files make a model.
func (in *inspection) together(names []string) {
	all, err := weights.Open(names...)
	if err != nil {
		in.Misfit = err.Error()
		return
	}
	in.Missing = all.Lacks(weights.Needed)
	err = all.Close()
	if len(in.Missing) > 0 || err != nil {
		return
	}
	files := supir.Files{Model: names[0]}
	in.Flags = "--model " + show(names[0])
	if len(names) > 1 {
		files = supir.Files{SDXL: names[0], SUPIR: names[1]}
		if len(in.Files[0].set.Lacks(weights.SUPIR.Parts)) == 0 && len(in.Files[1].set.Lacks(weights.SDXL.Parts)) == 0 {
			files = supir.Files{SDXL: names[1], SUPIR: names[0]}
		}
		in.Flags = "--sdxl " + show(files.SDXL) + " --supir " + show(files.SUPIR)
	}
	if len(names) > 2 {
		in.Flags, in.Misfit = "", "more than the two files of a model"
		return
	}
	m, err := supir.New(files)
	if err != nil {
		in.Misfit, in.Flags = err.Error(), ""
		return
	}
	in.Complete = true
	_ = m.Close() // nothing was loaded
}

func (in *inspection) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, r := range in.Files {
		r.print(t)
	}
	switch {
	case in.Complete:
		fmt.Fprintf(t, "complete: supir restore PICTURE %s\n", in.Flags)
	case in.Misfit != "":
		fmt.Fprintf(t, "cannot be used: %s\n", in.Misfit)
	case len(in.Missing) == len(weights.Needed):
		fmt.Fprintln(t, "no part of a SUPIR model")
	case len(in.Missing) > 0:
		fmt.Fprintf(t, "missing for a model: %s\n", strings.Join(in.Missing, ", "))
	}
	return t.Flush()
}

func (r *fileReport) print(w io.Writer) {
	fmt.Fprintf(w, "%s\n", show(r.File))
	if r.Error != "" {
		fmt.Fprintf(w, "  cannot be read:\t%s\n\n", r.Error)
		return
	}
	fmt.Fprintf(w, "  format\t%s, %s\n", r.Format, size(r.Size))
	holds := r.Holds
	if holds == "" {
		holds = "unknown to supir"
	}
	fmt.Fprintf(w, "  holds\t%s\n", holds)
	fmt.Fprintf(w, "  parameters\t%s in %d tensors: %s\n\n", millions(r.Parameters), r.Tensors, typeShares(r.Types, r.Parameters))
	if len(r.Networks) > 0 {
		fmt.Fprintln(w, "  network\tparameters\tsize\ttypes\tsizes")
	}
	for _, n := range r.Networks {
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s\n", n.Name, millions(n.Parameters), size(n.Size), typeShares(n.Types, n.Parameters), n.Architecture)
	}
	fmt.Fprintln(w)
	if len(r.Metadata) > 0 {
		fmt.Fprintln(w, "  metadata")
	}
	for _, key := range slices.Sorted(maps.Keys(r.Metadata)) {
		if !strings.HasPrefix(key, weights.OriginalShape) { // one for every flattened kernel
			fmt.Fprintf(w, "  %s\t%s\n", show(key), brief(r.Metadata[key]))
		}
	}
	if len(r.Metadata) > 0 {
		fmt.Fprintln(w)
	}
}

// typeShares tells how much of the parameters is stored in which type, most first.
func typeShares(types map[string]typeUsage, all int64) string {
	names := slices.SortedFunc(maps.Keys(types), func(a, b string) int {
		return int(min(max(types[b].Parameters-types[a].Parameters, -1), 1))
	})
	var parts []string
	for _, name := range names {
		if len(names) == 1 {
			return name
		}
		share := 100 * float64(types[name].Parameters) / float64(max(all, 1))
		if share < 0.1 {
			parts = append(parts, name+" <0.1%")
			continue
		}
		parts = append(parts, fmt.Sprintf("%s %.1f%%", name, share))
	}
	return strings.Join(parts, ", ")
}

// brief is a value of metadata in one line that is not too long.
func brief(value any) string {
	const most = 70
	text, ok := value.(string)
	if !ok {
		text = fmt.Sprint(value)
	}
	lines := strings.Count(strings.TrimSuffix(text, "\n"), "\n") + 1
	start, _, _ := strings.Cut(text, "\n")
	if runes := []rune(start); len(runes) > most {
		start = string(runes[:most])
	}
	if start != text {
		start = fmt.Sprintf("%s… (%d lines, %s)", start, lines, size(int64(len(text))))
	}
	return show(start)
}
