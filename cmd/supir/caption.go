package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"supir"
	"supir/photo"
)

// captionOptions are what `supir caption` is asked to do.
type captionOptions struct {
	streams
	inputs []string
	modelFlags
	sidecar   bool
	overwrite bool
	skip      bool
	json      bool
}

func newCaption(io streams) *cobra.Command {
	o := &captionOptions{streams: io}
	cmd := &cobra.Command{
		Use:   "caption PICTURE...",
		Short: "Describe pictures in words",
		Long: `Describes pictures, or all pictures of folders, as "supir restore" would for its
prompt, but to the end. A picture is cleaned by the model's first stage before
it is looked at, unless --caption-raw is given.

With one picture its caption is printed alone, with several each line is a name,
a tab and a caption; with --json each line is an object of input, caption and
seconds, or of input, error, hint and code. With --sidecar the caption of
NAME.EXT is written to NAME.txt beside it instead (NAME.EXT.txt, if there are
several pictures of that NAME), where "supir restore" finds
it, and where you may edit it first; --skip-existing goes on after an
interruption, and --json then names the text file, too.

` + exitCodesHelp,
		Example: `  supir caption old.jpg --llava llava-v1.5-7b-Q4_K_M.gguf,mmproj-model-f16.gguf
  supir caption box-of-photos/ --sidecar --captioner http://localhost:11434 --caption-model llava
  supir restore old.jpg --prompt "$(supir caption old.jpg --captioner sidecar)"`,
		Args: pictures,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := exclude(cmd, "overwrite", "skip-existing"); err != nil {
				return err
			}
			if !o.sidecar && (o.overwrite || o.skip) {
				return usagef("add --sidecar", "--overwrite and --skip-existing are about text files")
			}
			o.inputs = args
			return runCaption(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.sidecar, "sidecar", false, "write NAME.txt beside each picture")
	f.BoolVar(&o.overwrite, "overwrite", false, "replace existing text files, by LLaVA's captions if --captioner is auto")
	f.BoolVar(&o.skip, "skip-existing", false, "leave out pictures whose text files exist")
	f.BoolVar(&o.json, "json", false, "print one JSON object a picture")
	f.SortFlags = false
	o.captions.add(cmd)
	o.weights.add(cmd)
	o.flags.add(cmd, "device", "threads", "memory")
	return cmd
}

func runCaption(ctx context.Context, o *captionOptions) error {
	opts, files, _, err := o.read()
	if err != nil {
		return err
	}
	jobs, several, err := expand(o.inputs)
	if err != nil {
		return err
	}
	if o.sidecar {
		if err := o.nameSidecars(jobs); err != nil {
			return err
		}
		if o.overwrite && o.captions.auto() && files.LLaVA.Text != "" {
			o.captions.kind = "llava" // not the text that is to be replaced
		}
	}
	m, err := supir.New(files)
	if err != nil {
		return err
	}
	defer m.Close()
	sum := summary{total: len(jobs)}
	for _, j := range jobs {
		if j.skip {
			sum.skipped++
			continue
		}
		began := time.Now()
		caption, err := o.captionOne(ctx, m, files, j, opts)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			f := classify(err)
			sum.failures = append(sum.failures, failedJob{j, f})
			o.tellFailure(j, f)
			continue
		}
		if err := o.print(j, caption, several, time.Since(began)); err != nil {
			return err
		}
	}
	if sum.skipped > 0 {
		fmt.Fprintf(o.err, "%d of %d pictures left out: their texts are there\n", sum.skipped, sum.total)
	}
	if code := sum.code(); code != exitOK {
		return &failure{err: fmt.Errorf("%d pictures failed", len(sum.failures)), code: code, told: true}
	}
	return nil
}

// nameSidecars says where each caption goes, and makes sure that nothing is lost.
func (o *captionOptions) nameSidecars(jobs []*job) error {
	stem := func(j *job) string { return strings.TrimSuffix(j.input, filepath.Ext(j.input)) }
	alike := map[string]int{}
	for _, j := range jobs {
		alike[stem(j)]++
	}
	for _, j := range jobs {
		name := stem(j)
		if alike[name] > 1 {
			name = j.input // a.jpg and a.png
		}
		j.outputs = []string{name + ".txt"}
	}
	if err := checkDistinct(jobs); err != nil {
		return err
	}
	existing := jobRequest{overwrite: o.overwrite, skipExisting: o.skip}
	if err := existing.checkExisting(jobs); err != nil {
		return err
	}
	return checkWritable(jobs)
}

func (o *captionOptions) captionOne(ctx context.Context, m *supir.Model, files supir.Files, j *job, opts supir.Options) (string, error) {
	if j.err != nil {
		return "", j.err
	}
	in, err := photo.Read(j.input, photo.ReadOptions{})
	if err != nil {
		return "", err
	}
	o.captions.apply(&opts, files, j.input)
	caption, err := m.Caption(ctx, in.Image, opts)
	if err != nil {
		f := classify(err)
		f.err = fmt.Errorf("%s: %w", show(j.input), f.err)
		return "", f
	}
	if o.sidecar && caption != "" {
		return caption, writeText(j.outputs[0], caption+"\n", o.overwrite)
	}
	return caption, nil
}

// writeText writes a file that appears whole or not at all.
func writeText(name, text string, overwrite bool) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".supir-*.tmp")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // which is gone if all went well
	const mode = 0o644
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Chmod(mode), f.Close()); err != nil {
		return err
	}
	if _, err := os.Lstat(name); err == nil && !overwrite {
		return &fs.PathError{Op: "write", Path: name, Err: fs.ErrExist}
	}
	return os.Rename(f.Name(), name)
}

func (o *captionOptions) print(j *job, caption string, several bool, took time.Duration) error {
	sidecar := ""
	if o.sidecar && caption != "" {
		sidecar = j.outputs[0]
	}
	switch {
	case o.json:
		return o.object(struct {
			Input   string  `json:"input"`
			Caption string  `json:"caption"`
			Sidecar string  `json:"sidecar,omitempty"`
			Seconds float64 `json:"seconds"`
		}{j.input, caption, sidecar, seconds(took)})
	case o.sidecar && caption == "":
		_, err := fmt.Fprintf(o.err, "%s: no caption\n", show(j.input))
		return err
	case o.sidecar:
		_, err := fmt.Fprintf(o.err, "%s: %s\n", show(j.outputs[0]), show(caption))
		return err
	case several:
		_, err := fmt.Fprintf(o.out, "%s\t%s\n", show(j.input), caption)
		return err
	}
	_, err := fmt.Fprintln(o.out, caption)
	return err
}

func (o *captionOptions) object(v any) error {
	enc := json.NewEncoder(o.out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

func (o *captionOptions) tellFailure(j *job, f *failure) {
	tell(o.err, f)
	if o.json {
		_ = o.object(struct { // who reads it may be gone; the exit code remains
			Input string `json:"input"`
			Error string `json:"error"`
			Hint  string `json:"hint,omitempty"`
			Code  int    `json:"code"`
		}{j.input, f.Error(), f.hint, f.code})
	}
}
