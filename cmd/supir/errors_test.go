package main

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"supir"
)

// TestClassifyMemory wants to hear of what is lacking: memory that was planned
// for, or whatever else was refused.
func TestClassifyMemory(t *testing.T) {
	plan := supir.Plan{WorkWidth: 64, WorkHeight: 128, Peak: 3 << 30, Budget: 2 << 30}
	f := classify(&supir.MemoryError{Plan: plan})
	require.Equal(t, exitMemory, f.code)
	require.EqualError(t, f, "working at 64×128 needs about 3.0 GiB of memory, 2.0 GiB may be used")
	f = classify(&supir.MemoryError{Plan: plan, Err: errors.New("the disk is full")})
	require.Equal(t, exitMemory, f.code)
	require.EqualError(t, f, "working at 64×128: the disk is full")
}
