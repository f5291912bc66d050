package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"supir": main,
		"exits": exits,
	})
}

// exits CODE ARGS... runs supir, and fails unless it ends with that code.
func exits() {
	want, err := strconv.Atoi(os.Args[1])
	if err != nil {
		panic(err)
	}
	if code := run(context.Background(), os.Args[2:], systemStreams()); code != want {
		fmt.Fprintf(os.Stderr, "exit code %d, want %d\n", code, want)
		os.Exit(1)
	}
}

// TestScripts runs testdata/script. Scripts have these commands of their own:
//
//	exits CODE ARGS...       run supir ARGS, which must end with CODE
//	picture FILE [WxH]       make a picture, 48×32 by default
//	model FOLDER             make sdxl.safetensors and supir.safetensors: a model
//	                         with random weights that works at 64 pixels, 2 steps
//	llava FOLDER             make text.gguf and mmproj.gguf: a small LLaVA with
//	                         random weights
//	visionserver             start a captioning server and put its address into SERVER
//	shorten FILE BYTES       keep the first bytes of a file
//	dims FILE WxH            the file is a picture of this size
//	alike FILE FILE          two pictures differ by about 2 of 255 levels at most
//	events FILE EVENT...     the file's lines are JSON objects of these events,
//	                         progress left out
//	nofiles PATTERN          no file matches
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"picture":      cmdPicture,
			"model":        cmdModel,
			"llava":        cmdLLaVA,
			"visionserver": cmdVisionServer,
			"shorten":      cmdShorten,
			"dims":         cmdDims,
			"alike":        cmdAlike,
			"events":       cmdEvents,
			"nofiles":      cmdNoFiles,
		},
	})
}

func cmdPicture(ts *testscript.TestScript, _ bool, args []string) {
	w, h := 48, 32
	if len(args) > 1 {
		_, err := fmt.Sscanf(args[1], "%dx%d", &w, &h)
		ts.Check(err)
	}
	var b bytes.Buffer
	ts.Check(encodePicture(&b, filepath.Ext(args[0]), gradient(w, h)))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b.Bytes(), 0o666))
}

func encodePicture(w io.Writer, ext string, img image.Image) error {
	switch strings.ToLower(ext) {
	case ".jpg":
		return jpeg.Encode(w, img, nil)
	case ".gif":
		frame := image.NewPaletted(img.Bounds(), color.Palette{color.Black, color.White})
		return gif.EncodeAll(w, &gif.GIF{Image: []*image.Paletted{frame, frame}, Delay: []int{1, 1}})
	}
	return png.Encode(w, img)
}

func gradient(w, h int) image.Image {
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			img.Set(x, y, color.RGBA{uint8(255 * x / w), uint8(255 * y / h), 128, 255})
		}
	}
	return img
}

func cmdLLaVA(ts *testscript.TestScript, _ bool, args []string) {
	wd, err := os.Getwd()
	ts.Check(err)
	ts.Check(os.MkdirAll(ts.MkAbs(args[0]), 0o777))
	for to, from := range map[string]string{"text.gguf": "llava-tiny-text.gguf", "mmproj.gguf": "llava-tiny-mmproj.gguf"} {
		data, err := os.ReadFile(filepath.Join(wd, "..", "..", "testdata", "golden", "llava", from))
		ts.Check(err)
		ts.Check(os.WriteFile(filepath.Join(ts.MkAbs(args[0]), to), data, 0o666))
	}
}

// cmdVisionServer serves captions that tell the model and the picture's size;
// under /broken all requests fail.
func cmdVisionServer(ts *testscript.TestScript, _ bool, _ []string) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/chat/completions" {
			w.Header().Set("Retry-After", "0")
			http.Error(w, `{"error":{"message":"out of memory"}}`, http.StatusInternalServerError)
			return
		}
		var q struct {
			Model    string
			Messages []struct {
				Content []struct {
					ImageURL struct{ URL string } `json:"image_url"`
				}
			}
		}
		_ = json.NewDecoder(r.Body).Decode(&q)
		data, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(q.Messages[0].Content[1].ImageURL.URL, "data:image/jpeg;base64,"))
		size, _ := jpeg.DecodeConfig(bytes.NewReader(data))
		fmt.Fprintf(w, `{"choices":[{"message":{"content":"%s sees %d×%d"}}]}`, q.Model, size.Width, size.Height)
	}))
	ts.Defer(server.Close)
	ts.Setenv("SERVER", server.URL)
}

func cmdModel(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(makeModel(ts.MkAbs(args[0])))
}

// makeModel makes a small model with random weights from the golden ones, which
// lack only metadata.
func makeModel(folder string) error {
	wd, err := os.Getwd()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return err
	}
	metadata := map[string]string{"supir.clip_l.heads": "2", "supir.clip_g.heads": "2", "supir.min_size": "64", "supir.steps": "2"}
	for _, name := range []string{"sdxl.safetensors", "supir.safetensors"} {
		data, err := os.ReadFile(filepath.Join(wd, "..", "..", "testdata", "golden", name))
		if err != nil {
			return err
		}
		n := binary.LittleEndian.Uint64(data)
		var header map[string]any
		if err := json.Unmarshal(data[8:8+n], &header); err != nil {
			return err
		}
		header["__metadata__"] = metadata
		text, err := json.Marshal(header)
		if err != nil {
			return err
		}
		text = append(text, bytes.Repeat([]byte{' '}, -len(text)&7)...)
		out := binary.LittleEndian.AppendUint64(nil, uint64(len(text)))
		out = append(append(out, text...), data[8+n:]...)
		if err := os.WriteFile(filepath.Join(folder, name), out, 0o666); err != nil {
			return err
		}
	}
	return nil
}

func cmdShorten(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	ts.Check(os.Truncate(ts.MkAbs(args[0]), n))
}

func cmdDims(ts *testscript.TestScript, _ bool, args []string) {
	f, err := os.Open(ts.MkAbs(args[0]))
	ts.Check(err)
	defer f.Close()
	c, _, err := image.DecodeConfig(f)
	ts.Check(err)
	if got := fmt.Sprintf("%dx%d", c.Width, c.Height); got != args[1] {
		ts.Fatalf("%s is %s, want %s", args[0], got, args[1])
	}
}

// cmdAlike allows for a helper of the CPU, such as BLAS, that is used in one run
// and not in another: it adds in another order.
func cmdAlike(ts *testscript.TestScript, _ bool, args []string) {
	const most = 2 * 257
	var imgs [2]image.Image
	for i := range imgs {
		f, err := os.Open(ts.MkAbs(args[i]))
		ts.Check(err)
		defer f.Close()
		imgs[i], _, err = image.Decode(f)
		ts.Check(err)
	}
	b := imgs[0].Bounds()
	if b != imgs[1].Bounds() {
		ts.Fatalf("sizes %v and %v", b, imgs[1].Bounds())
	}
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			r, g, bl, _ := imgs[0].At(x, y).RGBA()
			r2, g2, bl2, _ := imgs[1].At(x, y).RGBA()
			if d := max(r, r2) - min(r, r2) + max(g, g2) - min(g, g2) + max(bl, bl2) - min(bl, bl2); d > 3*most {
				ts.Fatalf("%d,%d: %v and %v", x, y, imgs[0].At(x, y), imgs[1].At(x, y))
			}
		}
	}
}

func cmdEvents(ts *testscript.TestScript, _ bool, args []string) {
	var got []string
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		var e struct{ Event string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			ts.Fatalf("%v: %s", err, line)
		}
		if e.Event != "progress" {
			got = append(got, e.Event)
		}
	}
	if !slices.Equal(got, args[1:]) {
		ts.Fatalf("events %v, want %v", got, args[1:])
	}
}

func cmdNoFiles(ts *testscript.TestScript, _ bool, args []string) {
	for _, pattern := range args {
		names, err := filepath.Glob(ts.MkAbs(pattern))
		ts.Check(err)
		if len(names) > 0 {
			ts.Fatalf("there is %v", names)
		}
	}
}
