package weights

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Part is a portion of a checkpoint, told by what its tensors' names begin
// with.
type Part struct {
	Name   string // in words: "the U-Net"
	Prefix string
}

// Networks are a model's networks, by what the names of their tensors begin with.
// Connectors lie within the U-Net.
var Networks = []Part{
	{"vae", "first_stage_model"}, {"text", "conditioner"}, {"connectors", "model.diffusion_model.project_modules"},
	{"unet", "model.diffusion_model"}, {"adaptor", "model.control_model"},
}

// NetworkOf is the name of the network that a tensor belongs to, "" if to none.
func NetworkOf(tensor string) string {
	for _, n := range Networks {
		if strings.HasPrefix(tensor, n.Prefix+".") {
			return n.Name
		}
	}
	return ""
}

// The files a user has, by the parts each must hold.
var (
	SDXL = Role{"SDXL", []Part{
		{"the U-Net", "model.diffusion_model.input_blocks"}, {"the VAE", "first_stage_model.decoder"},
		{"the text encoder CLIP ViT-L", "conditioner.embedders.0.transformer.text_model"},
		{"the text encoder OpenCLIP ViT-bigG", "conditioner.embedders.1.model"},
	}}
	SUPIR = Role{"SUPIR", []Part{
		{"the adaptor", "model.control_model"}, {"the connectors", "model.diffusion_model.project_modules"},
		{"the degradation-robust encoder", "first_stage_model.denoise_encoder"},
	}}
)

// Whole is the role of one file that holds all of a model.
var Whole = Role{"model", slices.Concat(SDXL.Parts, SUPIR.Parts)}

// Needed are the parts that make a model, finer than roles have them.
var Needed = []Part{
	{"the VAE's encoder", "first_stage_model.encoder"}, {"the VAE's decoder", "first_stage_model.decoder"},
	{"the U-Net", "model.diffusion_model.input_blocks"},
	{"the text encoder CLIP-L", "conditioner.embedders.0"}, {"the text encoder OpenCLIP bigG", "conditioner.embedders.1"},
	{"the degradation-robust encoder", "first_stage_model.denoise_encoder"},
	{"the adaptor", "model.control_model"}, {"the connectors", "model.diffusion_model.project_modules"},
}

// Lacks names the parts that the set does not hold.
func (s *Set) Lacks(parts []Part) []string {
	names := []string{}
	for _, p := range parts {
		if !s.anyUnder(p.Prefix) {
			names = append(names, p.Name)
		}
	}
	return names
}

// LooksLike says in words what kind of files these are; "" where that is unknown.
func (s *Set) LooksLike() string {
	if len(s.Lacks(Whole.Parts)) == 0 {
		return "a whole model: SDXL and SUPIR"
	}
	for _, f := range s.files {
		if what := f.looksLike(); what != "" {
			return what
		}
	}
	return ""
}

// Role is the place a file takes among those a user names.
type Role struct {
	Name  string
	Parts []Part
}

// Other kinds of files that are mistaken for a checkpoint.
var strangers = []Part{
	{"a U-Net alone in the Diffusers layout, of which the folder above is needed", "down_blocks"},
	{"Stable Diffusion 1 or 2, where SDXL is needed", "cond_stage_model"},
	{"a refiner, where SDXL base is needed", "conditioner.embedders.0.model"},
	{"a text encoder alone", "text_model"},
	{"a VAE alone", "encoder"},
	{"a VAE alone", "first_stage_model.decoder"},
	{"an OpenCLIP model alone", "transformer.resblocks"},
	{"a language model", "model.layers"},
	{"a language model", "language_model"},
}

// RoleError reports a file that does not hold what it was given as.
type RoleError struct {
	File    string
	Want    string // the role it was given as: "SUPIR"
	Lacks   string // the part that is not there
	Got     string // what it holds instead, in words; empty where unknown
	Swapped bool   // the file belongs in another role that was also given
}

func (e *RoleError) Error() string {
	text := fmt.Sprintf("%s: given as the %s file, but without %s", e.File, e.Want, e.Lacks)
	if e.Got != "" {
		text += "; it looks like " + e.Got
	}
	if e.Swapped {
		text += ": the files are swapped"
	}
	return text
}

// CheckRoles makes sure that each file of the set, in the order they were
// opened, holds the parts of its role, so that swapped or wrong files are told
// in words rather than by hundreds of missing tensors. Files beyond the roles
// are not looked at, and a file may hold more than its role asks for.
func (s *Set) CheckRoles(roles ...Role) error {
	files := s.files[:min(len(s.files), len(roles))]
	for i, f := range files {
		lacks, ok := f.lacks(roles[i])
		if !ok {
			continue
		}
		e := &RoleError{File: f.path, Want: roles[i].Name, Lacks: lacks, Got: f.looksLike()}
		for j, other := range files {
			_, mine := f.lacks(roles[j])
			_, theirs := other.lacks(roles[i])
			e.Swapped = e.Swapped || j != i && !mine && !theirs
		}
		return e
	}
	return nil
}

// lacks names the first part of a role that the file does not hold.
func (f *contents) lacks(role Role) (part string, lacks bool) {
	for _, p := range role.Parts {
		if !f.holds(p.Prefix) {
			return p.Name, true
		}
	}
	return "", false
}

func (f *contents) holds(prefix string) bool {
	return slices.ContainsFunc(f.tensors, func(t *Tensor) bool {
		return strings.HasPrefix(t.Name, prefix+".")
	})
}

// loraName is how tensors of LoRAs are called, kohya's and Diffusers'.
var loraName = regexp.MustCompile(`^lora_|[._]lora[._]`)

// looksLike says in words what kind of file this is.
func (f *contents) looksLike() string {
	if shardName.MatchString(f.path) {
		return "one of several files of a model: name their index or folder"
	}
	for _, role := range []Role{SUPIR, SDXL} {
		if _, lacks := f.lacks(role); !lacks {
			return "the " + role.Name + " file"
		}
	}
	if slices.ContainsFunc(f.tensors, func(t *Tensor) bool { return loraName.MatchString(t.Name) }) {
		return "a LoRA, not a whole model"
	}
	unet := f.holds("model.diffusion_model")
	for _, p := range strangers {
		if f.holds(p.Prefix) && !(unet && strings.HasSuffix(p.Name, "alone")) {
			return p.Name
		}
	}
	return ""
}
