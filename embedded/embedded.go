// Package embedded carries a small SUPIR model, trained by this project on
// procedural scenes, in the program: every network of the large model, with the
// same code, in a few megabytes. Programs that don't import it don't carry it.
package embedded

import (
	"embed"

	"supir"
)

//go:embed sdxl.safetensors supir.safetensors
var files embed.FS

// Files are the small model's weights, for supir.New.
func Files() supir.Files {
	return supir.Files{SDXL: "sdxl.safetensors", SUPIR: "supir.safetensors", FS: files}
}
