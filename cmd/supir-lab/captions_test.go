package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWordsAgree(t *testing.T) {
	truth := []string{"a photo of red wood circle, blue sky background", "a night photo of black box, blue sky background"}
	said := []string{"a photo of red stone circle, red bark ring, blue clouds background", "A photo of blue sky background."}
	require.Equal(t, agreement{said: 3, truth: 4, both: 3}, agree(said, truth, "colour"))
	require.Equal(t, agreement{said: 2, truth: 2, both: 1}, agree(said, truth, "shape"))
	require.Equal(t, agreement{said: 4, truth: 4, both: 1}, agree(said, truth, wordKinds[2]))
	require.Equal(t, "56 % / 50 %", total(said, truth).String())
	require.InDelta(t, 10.0/19, total(said, truth).f1(), 1e-9)
	require.Equal(t, truth[0], constant(truth)[1])
	require.Equal(t, 1.0, total(truth, truth).f1())
}

// TestCaptionsExperiment takes the pictures that have a caption beside them.
func TestCaptionsExperiment(t *testing.T) {
	photos, out := folder(t), t.TempDir()
	args := []string{"captions", "--photos", photos, "--size", "64", "--out", out, "--device", "cpu", "--threads", "1", "--steps", "1"}
	code, log := command(t, args...)
	require.Equal(t, 2, code)
	require.Contains(t, log, "NAME.txt")

	require.NoError(t, os.WriteFile(filepath.Join(photos, "a.txt"), []byte("a photo of green stripes background\n"), 0o666))
	code, log = command(t, args...)
	require.Zero(t, code, log)
	report, err := os.ReadFile(filepath.Join(out, reportName))
	require.NoError(t, err)
	for _, want := range []string{"| degraded, cleaned |", "| a constant caption | 100 % / 100 %", "| another picture's |", "1 of 1 cases"} {
		require.Contains(t, string(report), want)
	}
	require.FileExists(t, filepath.Join(out, "pictures/a/blur2_sr4_noise20_jpeg50/caption-generated.png"))
}
