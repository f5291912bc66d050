package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"image"
	"os"
	"path/filepath"
)

// A ledger remembers what each picture was made from, so that none is made
// twice. It is a file of one JSON object a line, added to after the picture is
// written: a killed run loses at most the picture it was at.
type ledger struct {
	folder string
	keys   map[string]string // by path below the folder
	file   *os.File
}

type entry struct {
	Path string `json:"path"`
	Key  string `json:"key"`
}

func openLedger(folder string) (*ledger, error) {
	name := filepath.Join(folder, "pictures.jsonl")
	data, err := os.ReadFile(name)
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	l := &ledger{folder: folder, keys: map[string]string{}}
	for line := range bytes.Lines(data) {
		var e entry
		if json.Unmarshal(line, &e) == nil { // a torn last line is a picture to be made again
			l.keys[e.Path] = e.Key
		}
	}
	if l.file, err = os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666); err != nil {
		return nil, err
	}
	if len(data) > 0 && data[len(data)-1] != '\n' {
		_, err = l.file.WriteString("\n")
	}
	return l, err
}

func (l *ledger) close() error { return l.file.Close() }

// find reads the picture at path if it was made from what the key tells.
func (l *ledger) find(path, key string) image.Image {
	if l.keys[path] != key {
		return nil
	}
	img, err := readWhole(filepath.Join(l.folder, path))
	if err != nil { // gone or damaged: to be made again
		return nil
	}
	return img
}

// add writes a picture and remembers its key.
func (l *ledger) add(path, key string, img image.Image) error {
	if err := write(filepath.Join(l.folder, path), img); err != nil {
		return err
	}
	l.keys[path] = key
	line, err := json.Marshal(entry{path, key})
	if err != nil {
		return err
	}
	_, err = l.file.Write(append(line, '\n'))
	return err
}

// keyOf tells apart what a picture is made from.
func keyOf(low image.Image, texts ...string) string {
	h := sha256.New()
	m := nrgba(low, low.Bounds())
	fmt.Fprintln(h, m.Bounds())
	h.Write(m.Pix)
	for _, t := range texts {
		fmt.Fprintf(h, "%d %s\n", len(t), t)
	}
	return hex.EncodeToString(h.Sum(nil))[:24]
}
