package nn

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFastBLAS(t *testing.T) {
	const line = "7f00-7f01 r-xp 00000000 fe:00 123 "
	require.False(t, fastBLAS(line+"/usr/lib/x86_64-linux-gnu/blas/libblas.so.3.12.1\n"))
	require.False(t, fastBLAS(line+"/home/mklein/bin/supir\n"+line+"/lib/libm.so.6\n"))
	require.True(t, fastBLAS(line+"/usr/lib/x86_64-linux-gnu/openblas-openmp/libblas.so.3\n"))
	require.True(t, fastBLAS(line+"/usr/lib/x86_64-linux-gnu/openblas-pthread/libopenblasp-r0.3.29.so\n"))
	require.True(t, fastBLAS(line+"/opt/intel/libmkl_rt.so.2\n"))
}
