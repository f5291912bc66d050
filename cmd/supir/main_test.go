//go:build unix

package main

import (
	"bufio"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTerminalClosed wants nothing unfinished to be left behind.
func TestTerminalClosed(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, makeModel(dir))
	exe, err := os.Executable()
	require.NoError(t, err)
	out, in := filepath.Join(dir, "out"), filepath.Join(dir, "in.png")
	require.NoError(t, os.Mkdir(out, 0o777))
	f, err := os.Create(in)
	require.NoError(t, err)
	require.NoError(t, encodePicture(f, ".png", gradient(48, 32)))
	require.NoError(t, f.Close())
	supir := exec.Command(exe, "restore", in, "-o", filepath.Join(out, "x.png"), "--steps", "1000",
		"--sdxl", filepath.Join(dir, "sdxl.safetensors"), "--supir", filepath.Join(dir, "supir.safetensors"))
	supir.Args[0] = "supir"          // see TestMain
	heard := make(chan os.Signal, 1) // so that a nohup around the tests is not handed down
	signal.Notify(heard, syscall.SIGHUP)
	defer signal.Stop(heard)
	said, err := supir.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, supir.Start())
	_, err = bufio.NewReader(said).ReadString('\n') // it has begun
	require.NoError(t, err)
	require.NoError(t, supir.Process.Signal(syscall.SIGHUP))
	require.Error(t, supir.Wait())
	require.Equal(t, exitInterrupted, supir.ProcessState.ExitCode())
	left, err := os.ReadDir(out)
	require.NoError(t, err)
	require.Empty(t, left)
}
