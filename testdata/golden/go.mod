module supir/testdata/golden

go 1.24
