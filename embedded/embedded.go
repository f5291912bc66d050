// Package embedded carries a small SUPIR model, trained by this project on
// procedural scenes, in the program: every network of the large model, with the
// same code, in a few megabytes. Programs that don't import it don't carry it.
package embedded

import (
	"embed"
	"io/fs"

	"supir"
)

//go:embed *.gguf
var files embed.FS

// Files are the small model's weights, for supir.New; its captioner, a small
// LLaVA, among them where it is carried.
func Files() supir.Files {
	f := supir.Files{Model: "model.gguf", FS: files}
	captioner := supir.LLaVAFiles{Text: "llava-text.gguf", Vision: "llava-mmproj.gguf", FS: files}
	if _, err := fs.Stat(files, captioner.Text); err == nil {
		f.LLaVA = captioner
	}
	return f
}
