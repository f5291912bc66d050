package main

import (
	"supir"
	"supir/embedded"
)

// embeddedFiles are the weights used where none are named.
func embeddedFiles() supir.Files { return embedded.Files() }
