package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"supir/photo"
)

// A job is one picture to restore.
type job struct {
	input   string
	outputs []string // one for each sample
	stage1  string   // where the cleaned picture goes, or ""
	err     error    // why it cannot be done
	skip    bool     // all outputs exist, and that is all right
}

// written are all files that a job writes.
func (j *job) written() []string {
	if j.stage1 == "" {
		return j.outputs
	}
	return append(slices.Clone(j.outputs), j.stage1)
}

// jobRequest is what jobs are made from.
type jobRequest struct {
	inputs       []string
	output       string // file or folder; "" for beside the input
	format       string // extension of outputs named here; "" for the input's
	stage1       string
	samples      int
	overwrite    bool
	skipExisting bool
}

// restoredSuffix is put to a name where a result lies beside its input.
const restoredSuffix = "_restored"

// planJobs finds the pictures, names the results and makes sure that they can
// be written and that nothing is lost: no two results of one name, no result in
// place of an input, none in place of an existing file unless that is wanted.
// A picture that is not there is a job with an error; everything else that
// cannot be is an error now. The folder for the results is made; undo removes
// it again if nothing is in it.
func planJobs(r jobRequest) (jobs []*job, undo func(), err error) {
	undo = func() {}
	inputs, several, err := expand(r.inputs)
	if err != nil {
		return nil, undo, err
	}
	folder, isFolder, err := r.folder(several)
	if err != nil {
		return nil, undo, err
	}
	if r.stage1 != "" {
		if several {
			return nil, undo, usagef("restore the pictures one at a time", "--stage1 names one file, but there are several pictures")
		}
		if _, err := photo.OutputFormat(r.stage1); err != nil {
			return nil, undo, usagef("", "--stage1 %s: %v", show(r.stage1), err)
		}
	}
	for _, j := range inputs {
		j.outputs, j.stage1 = r.names(j.input, folder, isFolder), r.stage1
	}
	if err := checkDistinct(inputs); err != nil {
		return nil, undo, err
	}
	if err := r.checkExisting(inputs); err != nil {
		return nil, undo, err
	}
	if isFolder {
		if undo, err = makeFolder(folder); err != nil {
			return nil, undo, err
		}
	}
	if err := checkWritable(inputs); err != nil {
		undo()
		return nil, func() {}, err
	}
	return inputs, undo, nil
}

// expand lists the pictures: files as they are, folders by what lies in them.
// several says that there may be more than one.
func expand(args []string) (jobs []*job, several bool, err error) {
	several = len(args) > 1
	for _, arg := range args {
		if arg == "" {
			return nil, false, usagef("", "a picture's name is empty")
		}
		info, err := os.Stat(arg)
		if errors.Is(err, fs.ErrNotExist) && runtime.GOOS == "windows" { // whose shells leave patterns to programs
			if names, _ := filepath.Glob(arg); len(names) > 0 {
				several = true
				for _, name := range names {
					jobs = append(jobs, &job{input: name})
				}
				continue
			}
		}
		switch {
		case err != nil:
			jobs = append(jobs, &job{input: arg, err: err})
		case info.IsDir():
			several = true
			names, err := picturesIn(arg)
			if err == nil && len(names) == 0 {
				err = fmt.Errorf("%s: no pictures in this folder", show(arg))
			}
			if err != nil {
				jobs = append(jobs, &job{input: arg, err: err})
			}
			for _, name := range names {
				jobs = append(jobs, &job{input: name})
			}
		default:
			jobs = append(jobs, &job{input: arg})
		}
	}
	return jobs, several, nil
}

// pictureExtensions are those of files that are taken from a folder.
var pictureExtensions = []string{".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".webp", ".gif", ".bmp"}

// picturesIn lists the pictures in a folder, by extension, in order of their
// names. Hidden files and results of earlier runs are left out.
func picturesIn(folder string) ([]string, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		ext := filepath.Ext(e.Name())
		if strings.HasPrefix(e.Name(), ".") || !slices.Contains(pictureExtensions, strings.ToLower(ext)) {
			continue
		}
		if stem := strings.TrimSuffix(e.Name(), ext); isResult(stem) {
			continue
		}
		path := filepath.Join(folder, e.Name())
		if info, err := os.Stat(path); err != nil || info.Mode().IsRegular() {
			names = append(names, path)
		}
	}
	return names, nil
}

// isResult tells a name given by an earlier run: NAME_restored, NAME_restored-2.
func isResult(stem string) bool {
	stem = strings.TrimRight(stem, "0123456789")
	return strings.HasSuffix(strings.TrimSuffix(stem, "-"), restoredSuffix)
}

// folder finds out whether the results go to a folder, and which; "" is each
// picture's own.
func (r *jobRequest) folder(several bool) (folder string, isFolder bool, err error) {
	if r.output == "" {
		return "", true, nil
	}
	info, err := os.Stat(r.output)
	exists := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", false, usagef("", "-o %v", err)
	}
	slash := os.IsPathSeparator(r.output[len(r.output)-1])
	switch {
	case exists && info.IsDir():
		return r.output, true, nil
	case exists && several:
		return "", false, usagef("name a folder", "-o %s: a file, but there are several pictures", show(r.output))
	case slash || several:
		return r.output, true, nil
	}
	if _, err := photo.OutputFormat(r.output); err != nil {
		return "", false, usagef("a folder's name ends in /", "-o %s: %v", show(r.output), err)
	}
	if r.format != "" {
		return "", false, usagef("leave one of them out", "--format %s and a file for -o, whose name tells the format", r.format)
	}
	return r.output, false, nil
}

// names are the results' names for a picture.
func (r *jobRequest) names(input, folder string, isFolder bool) []string {
	name := folder
	if isFolder {
		base := filepath.Base(input)
		ext := filepath.Ext(base)
		stem := strings.TrimSuffix(base, ext)
		if r.format != "" {
			ext = "." + r.format
		} else if _, err := photo.OutputFormat(base); err != nil {
			ext = ".png" // what cannot be written: WebP, GIF, BMP
		}
		if folder == "" {
			folder, stem = filepath.Dir(input), stem+restoredSuffix
		}
		name = filepath.Join(folder, stem+ext)
	}
	if r.samples <= 1 {
		return []string{name}
	}
	ext := filepath.Ext(name)
	var names []string
	for i := range r.samples {
		names = append(names, fmt.Sprintf("%s-%d%s", strings.TrimSuffix(name, ext), i+1, ext))
	}
	return names
}

// checkDistinct makes sure that no two pictures write the same file.
func checkDistinct(jobs []*job) error {
	from := map[string]string{}
	for _, j := range jobs {
		for _, name := range j.written() {
			key := filepath.Clean(name)
			if abs, err := filepath.Abs(name); err == nil {
				key = abs
			}
			if runtime.GOOS == "windows" || runtime.GOOS == "darwin" {
				key = strings.ToLower(key)
			}
			if other, ok := from[key]; ok {
				if other == j.input {
					return usagef("name each picture once, and each result differently", "%s: two results would have this name", show(name))
				}
				return usagef("restore one of them by itself, to another -o",
					"%s and %s would both become %s", show(other), show(j.input), show(name))
			}
			from[key] = j.input
		}
	}
	return nil
}

// checkExisting makes sure that no input, and nothing else that should stay,
// is overwritten.
func (r *jobRequest) checkExisting(jobs []*job) error {
	var inputs []fs.FileInfo
	for _, j := range jobs {
		if info, err := os.Stat(j.input); err == nil {
			inputs = append(inputs, info)
		}
	}
	var existing []string
	for _, j := range jobs {
		there := 0
		for _, name := range j.written() {
			info, err := os.Lstat(name)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return usagef("", "cannot write %v", err)
			}
			target, err := os.Stat(name)
			if err == nil && slices.ContainsFunc(inputs, func(in fs.FileInfo) bool { return os.SameFile(in, target) }) {
				return usagef("choose another -o, or leave it out for NAME"+restoredSuffix+" beside the picture",
					"%s: the result would replace a picture to restore", show(name))
			}
			if info.IsDir() {
				return usagef("choose another -o", "%s: a folder of this name is in the way", show(name))
			}
			there++
		}
		switch {
		case there == 0 || r.overwrite:
		case r.skipExisting && there == len(j.written()):
			j.skip = true
		default:
			for _, name := range j.written() {
				if _, err := os.Lstat(name); err == nil {
					existing = append(existing, show(name))
				}
			}
		}
	}
	if len(existing) > 0 {
		const most = 5
		more := ""
		if len(existing) > most {
			more = fmt.Sprintf(" and %d more", len(existing)-most)
		}
		hint := "--overwrite replaces what is there, --skip-existing leaves those pictures out"
		if r.skipExisting {
			hint = "--overwrite replaces what is there"
		}
		return usagef(hint, "%s%s: already there", strings.Join(existing[:min(most, len(existing))], ", "), more)
	}
	return nil
}

// makeFolder makes the folder for the results if it is missing.
func makeFolder(folder string) (undo func(), err error) {
	undo = func() {}
	if folder == "" {
		return undo, nil
	}
	if _, err := os.Stat(folder); err == nil {
		return undo, nil
	}
	if err := os.Mkdir(folder, 0o777); err != nil {
		hint := "choose another -o"
		if errors.Is(err, fs.ErrNotExist) {
			hint = "make the folder above it first"
		}
		return undo, usagef(hint, "-o: cannot make the folder: %v", err)
	}
	return func() { _ = os.Remove(folder) }, nil // fails if anything is in it
}

// checkWritable makes sure that files can be made where the results go.
func checkWritable(jobs []*job) error {
	known := map[string]bool{}
	for _, j := range jobs {
		if j.err != nil || j.skip {
			continue
		}
		for _, name := range j.written() {
			folder := filepath.Dir(name)
			if known[folder] {
				continue
			}
			known[folder] = true
			f, err := os.CreateTemp(folder, ".supir-*.tmp")
			if err != nil {
				var path *fs.PathError
				if errors.As(err, &path) {
					err = path.Err
				}
				return usagef("choose another -o", "%s: cannot write in the folder %s: %v", show(name), show(folder), err)
			}
			if err := cmp.Or(f.Close(), os.Remove(f.Name())); err != nil {
				return usagef("choose another -o", "cannot write: %v", err)
			}
		}
	}
	return nil
}
