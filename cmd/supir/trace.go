package main

import (
	"bufio"
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"supir"
)

// startTrace begins a trace in a file of that name, a .json, which must not exist
// unless it may be overwritten. end ends it.
func startTrace(name string, overwrite bool) (t *supir.Trace, end func() error, err error) {
	if !strings.EqualFold(filepath.Ext(name), ".json") {
		return nil, nil, usagef("", "--trace %s: the name of a trace ends in .json", show(name))
	}
	flags := os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	if !overwrite {
		flags |= os.O_EXCL
	}
	f, err := os.OpenFile(name, flags, 0o666)
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil, nil, usagef("--overwrite replaces what is there", "--trace %s: already there", show(name))
	case err != nil:
		return nil, nil, usagef("", "--trace %v", err)
	}
	w := bufio.NewWriter(f)
	t = supir.NewTrace(w)
	return t, func() error { return cmp.Or(t.Close(), w.Flush(), f.Close()) }, nil
}
