module supir/photo/testdata/odd

go 1.24
