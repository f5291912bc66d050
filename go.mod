module supir

go 1.24
