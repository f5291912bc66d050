//go:build onednn

package csrc

// oneDNN's small kernels multiply on AMX, where the processor has it.

/*
#cgo CXXFLAGS: -DSUPIR_ONEDNN
#cgo LDFLAGS: -ldnnl
*/
import "C"
