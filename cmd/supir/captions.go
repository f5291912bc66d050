package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"supir"
)

// captionFlags say who describes pictures, shared by the commands.
type captionFlags struct {
	kind     string // one of captioners, or an address
	llava    []string
	model    string
	question string
	tokens   int
	timeout  time.Duration
	optional bool
	raw      bool
	tiles    bool
	cache    string
}

// captionerAuto is the default.
const captionerAuto = "auto"

// captioners are the kinds that --captioner names; anything else is an address.
var captioners = []string{captionerAuto, "none", "sidecar", "llava"}

// keyVariable is where the key for a captioning server stands in the environment.
const keyVariable = "SUPIR_CAPTION_KEY"

func (f *captionFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.Var(&captionerValue{&f.kind}, "captioner", `who describes pictures without a --prompt: auto (a text that came with the picture, else LLaVA where there is one), none, sidecar, llava, or the address of a server that speaks OpenAI's chat completions, such as http://localhost:11434 (auto)`)
	flags.Var(&llavaValue{&f.llava}, "llava", "weights of LLaVA-1.5: GGUF files of the language model and its mmproj, or one with both")
	flags.Var(text(&f.model, "NAME"), "caption-model", "model to ask a server for (the first it lists); its key, if it wants one, is read from "+keyVariable)
	flags.Var(text(&f.question, "TEXT"), "caption-question", "what LLaVA or a server is asked")
	flags.Var(&intValue{&f.tokens, 1, 4096}, "caption-tokens", "longest caption, in tokens of LLaVA or the server (512)")
	flags.Var(&durationValue{&f.timeout}, "caption-timeout", "give a server up after so long, as in 90s (2m)")
	flags.BoolVar(&f.optional, "caption-optional", false, "go on without a caption where the captioner fails")
	flags.BoolVar(&f.raw, "caption-raw", false, "show the captioner the picture as it is, without cleaning it first")
	flags.StringVar(&f.cache, "caption-cache", "", "`FOLDER` where LLaVA's captions are kept for the next run, or off (supir/captions in the user's folder for caches)")
	inGroup(cmd, captionGroup, "captioner", "llava", "caption-model", "caption-question", "caption-tokens", "caption-timeout", "caption-optional", "caption-raw", "caption-cache")
	_ = cmd.RegisterFlagCompletionFunc("captioner", cobra.FixedCompletions(captioners, cobra.ShellCompDirectiveNoFileComp))
}

// addTiles adds what matters for restoring alone.
func (f *captionFlags) addTiles(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.tiles, "caption-tiles", false, "have each window of a large picture described by itself")
	inGroup(cmd, captionGroup, "caption-tiles")
}

// auto tells whether no captioner was named.
func (f *captionFlags) auto() bool { return f.kind == "" || f.kind == captionerAuto }

// files adds the weights of LLaVA to a model's.
func (f *captionFlags) files(files *supir.Files) {
	if len(f.llava) > 0 {
		files.LLaVA = supir.LLaVAFiles{Text: f.llava[0], Vision: append(f.llava, "")[1]}
	}
}

// check refuses flags that contradict each other.
func (f *captionFlags) check(files supir.Files) error {
	address := strings.Contains(f.kind, "://")
	switch {
	case f.kind == "llava" && files.LLaVA.Text == "":
		return usagef("add --llava TEXT.gguf,MMPROJ.gguf", "--captioner llava without weights of LLaVA")
	case f.model != "" && !address:
		return usagef("add --captioner http://HOST:PORT", "--caption-model without a server to ask")
	case f.timeout != 0 && !address:
		return usagef("add --captioner http://HOST:PORT", "--caption-timeout without a server to ask")
	}
	return nil
}

// apply sets the options of a picture.
func (f *captionFlags) apply(opts *supir.Options, files supir.Files, picture string) {
	opts.CaptionOptional, opts.CaptionRaw, opts.CaptionTiles = f.optional, f.raw, f.tiles
	opts.CaptionCache = f.cacheFolder()
	llava := supir.LLaVA{Question: f.question, MaxTokens: f.tokens}
	switch f.kind {
	case "none":
		opts.Captioner = supir.FixedCaption("")
	case "sidecar":
		opts.Captioner = supir.Sidecar(picture)
	case "llava":
		opts.Captioner = llava
	case "", captionerAuto:
		list := supir.FirstCaption{supir.Sidecar(picture)}
		if files.LLaVA.Text != "" {
			list = append(list, llava)
		}
		opts.Captioner = list
	default:
		opts.Captioner = &supir.Endpoint{URL: f.kind, Model: f.model, Key: os.Getenv(keyVariable), Question: f.question, MaxTokens: f.tokens, Timeout: f.timeout}
	}
}

// cacheFolder is where captions are kept, "" for nowhere.
func (f *captionFlags) cacheFolder() string {
	switch f.cache {
	case "":
		folder, err := os.UserCacheDir()
		if err != nil {
			return ""
		}
		return filepath.Join(folder, "supir", "captions")
	case "off":
		return ""
	}
	return f.cache
}

// captionerValue is a kind of captioner or an address; part of pflag.Value.
type captionerValue struct{ target *string }

func (v *captionerValue) String() string { return "" }

// Type names the value in help; part of pflag.Value.
func (v *captionerValue) Type() string { return "auto|none|sidecar|llava|URL" }

// Set takes a value; part of pflag.Value.
func (v *captionerValue) Set(s string) error {
	if u, err := url.Parse(s); err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" {
		*v.target = s
		return nil
	}
	if s = strings.ToLower(s); !slices.Contains(captioners, s) {
		return fmt.Errorf("must be %s, or an address such as http://localhost:8080", strings.Join(captioners, ", "))
	}
	*v.target = s
	return nil
}

// llavaValue is one file or two; part of pflag.Value.
type llavaValue struct{ target *[]string }

func (v *llavaValue) String() string { return "" }

// Type names the value in help; part of pflag.Value.
func (v *llavaValue) Type() string { return "TEXT.gguf,MMPROJ.gguf" }

// Set takes a value; part of pflag.Value.
func (v *llavaValue) Set(s string) error {
	names := []string{s}
	if _, err := os.Stat(s); err != nil { // a name may hold a comma
		names = strings.Split(s, ",")
	}
	if len(names) > 2 || slices.Contains(names, "") {
		return errors.New("must be one file, or two with a comma between")
	}
	*v.target = names
	return nil
}

// durationValue is a span of time; part of pflag.Value.
type durationValue struct{ target *time.Duration }

func (v *durationValue) String() string { return "" }

// Type names the value in help; part of pflag.Value.
func (v *durationValue) Type() string { return "TIME" }

// Set takes a value; part of pflag.Value.
func (v *durationValue) Set(s string) error {
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 || d > 24*time.Hour {
		return errors.New("must be a time such as 90s or 5m")
	}
	*v.target = d
	return nil
}
