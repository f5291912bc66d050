package main

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"supir"
	"supir/embedded"
)

// A variant is one of the models that experiments compare.
type variant string

const (
	mainModel       variant = "the model"
	noNegatives     variant = "trained without negative samples"
	zeroConvolution variant = "with zero convolutions"
)

// models opens them, one at a time: a full-size one fills a machine.
type models struct {
	files  map[variant]supir.Files
	prints map[variant]string
	open   *supir.Model
	which  variant
	stages *stage1
}

func newModels(f *flags) *models {
	base := embedded.Files()
	if f.sdxl != "" {
		base = supir.Files{SDXL: f.sdxl, SUPIR: f.supir}
	}
	m := &models{files: map[variant]supir.Files{mainModel: base}, prints: map[variant]string{}}
	for v, name := range map[variant]string{noNegatives: f.withoutNegatives, zeroConvolution: f.withZeroConvolution} {
		if name != "" {
			m.files[v] = withSUPIR(base, name)
		}
	}
	return m
}

// variantFlags name the files of the variants.
var variantFlags = map[variant]string{noNegatives: "--model-without-negatives", zeroConvolution: "--model-zero-convolution"}

// missing is the flag of a model that is needed and not given, or "".
func (m *models) missing(needs []variant) string {
	for _, v := range needs {
		if _, ok := m.files[v]; !ok {
			return variantFlags[v]
		}
	}
	return ""
}

// check opens every model that the experiments need: better now than after an
// hour of work with the others.
func (m *models) check(list []experiment) error {
	wanted := []variant{mainModel}
	for _, e := range list {
		wanted = append(wanted, e.about().needs...)
	}
	for _, v := range slices.Compact(slices.Sorted(slices.Values(wanted))) {
		if _, err := m.use(v); err != nil {
			return err
		}
	}
	return nil
}

// use opens a variant, and closes the one that was open.
func (m *models) use(v variant) (*supir.Model, error) {
	if m.open != nil && m.which == v {
		return m.open, nil
	}
	if err := m.closeModel(); err != nil {
		return nil, err
	}
	model, err := supir.New(m.files[v])
	if err != nil {
		return nil, err
	}
	m.open, m.which = model, v
	return model, nil
}

func (m *models) closeModel() (err error) {
	if m.open != nil {
		err = m.open.Close()
	}
	m.open = nil
	return err
}

// close frees what is open.
func (m *models) close() error {
	err := m.closeModel()
	if m.stages != nil {
		err = errors.Join(err, m.stages.close())
	}
	m.stages = nil
	return err
}

// print identifies a variant's weights: the content of what is embedded, size
// and time of files, which may be large.
func (m *models) print(v variant) (string, error) {
	if p, ok := m.prints[v]; ok {
		return p, nil
	}
	files, h := m.files[v], sha256.New()
	fsys := cmp.Or[fs.FS](files.FS, osFS{})
	for _, name := range names(files) {
		info, err := fs.Stat(fsys, name)
		if err != nil {
			return "", err
		}
		fmt.Fprintln(h, info.Size())
		if !info.ModTime().IsZero() {
			fmt.Fprintln(h, name, info.ModTime().UnixNano())
			continue
		}
		data, err := fs.ReadFile(fsys, name)
		if err != nil {
			return "", err
		}
		h.Write(data)
	}
	m.prints[v] = fmt.Sprintf("%x", h.Sum(nil))
	return m.prints[v], nil
}

// names are a model's files.
func names(files supir.Files) []string {
	if files.Model != "" {
		return []string{files.Model}
	}
	return []string{files.SDXL, files.SUPIR}
}

// osFS is the file system, with names as a user gives them.
type osFS struct{}

// Open is os.Open; part of fs.FS.
func (osFS) Open(name string) (fs.File, error) { return os.Open(name) }

// Stat is os.Stat; part of fs.StatFS.
func (osFS) Stat(name string) (fs.FileInfo, error) { return os.Stat(name) }

// ReadFile is os.ReadFile; part of fs.ReadFileFS.
func (osFS) ReadFile(name string) ([]byte, error) { return os.ReadFile(name) }

// withSUPIR is a model whose SUPIR file is another, of the file system, whether
// the first one's lie there or are embedded.
func withSUPIR(base supir.Files, name string) supir.Files {
	sdxl := cmp.Or(base.SDXL, base.Model) // a file that holds both will do
	if base.FS == nil {
		return supir.Files{SDXL: sdxl, SUPIR: name}
	}
	return supir.Files{SDXL: sdxl, SUPIR: name, FS: overlay{base.FS, sdxl}}
}

// overlay is the file system but for one name, which another has.
type overlay struct {
	fs.FS
	name string
}

// Open opens a file of either; part of fs.FS.
func (o overlay) Open(name string) (fs.File, error) {
	if name == o.name {
		return o.FS.Open(name)
	}
	return os.Open(name)
}
