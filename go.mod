module supir

go 1.26.0

require (
	github.com/edsrzf/mmap-go v1.2.0
	github.com/x448/float16 v0.8.4
)

require (
	github.com/stretchr/testify v1.12.1 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/image v0.47.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/text v0.43.0 // indirect
)
