package weightstest

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"

	"supir/internal/weights"
)

// Torch is a file as torch.save writes it: these tensors in a dictionary, which
// stands in others under the names of nested, such as "state_dict".
func Torch(tensors map[string]Tensor, nested ...string) []byte {
	entries := map[string][]byte{"byteorder": []byte("little"), "version": []byte("3\n")}
	p := []byte("\x80\x02")
	for _, name := range nested {
		p = append(pickleText(append(p, "}("...), "epoch"), "K\x03"...)
		p = pickleText(p, name)
	}
	p = append(p, "}("...)
	for i, name := range slices.Sorted(maps.Keys(tensors)) {
		t := tensors[name]
		key := strconv.Itoa(i)
		entries["data/"+key] = t.bytes(name)
		p = pickleText(p, name)
		p = append(p, "ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\n"+torchStorage(t.DType)+"\n"...)
		p = pickleInt(pickleText(pickleText(p, key), "cpu"), elements(t.Shape))
		p = append(p, "tQK\x00("...)
		for _, d := range t.Shape {
			p = pickleInt(p, d)
		}
		p = append(p, "t("...)
		for j := range t.Shape {
			p = pickleInt(p, elements(t.Shape[j+1:]))
		}
		p = append(p, "t\x89ccollections\nOrderedDict\n)RtR"...)
	}
	p = append(p, 'u')
	for range nested {
		p = append(p, 'u')
	}
	entries["data.pkl"] = append(p, '.')
	return Zip("archive/", entries)
}

// Zip is an archive of these entries, not compressed, under a folder's name.
func Zip(folder string, entries map[string][]byte) []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		entry, err := w.CreateHeader(&zip.FileHeader{Name: folder + name, Method: zip.Store})
		if err == nil {
			_, err = entry.Write(entries[name])
		}
		if err != nil {
			panic(err) // memory takes all
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func elements(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

func pickleText(p []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint32(append(p, 'X'), uint32(len(s))), s...)
}

func pickleInt(p []byte, n int) []byte {
	if n > math.MaxInt32 {
		panic(fmt.Sprintf("weightstest: a size of %d", n))
	}
	return binary.LittleEndian.AppendUint32(append(p, 'J'), uint32(n))
}

func torchStorage(d weights.DType) string {
	name, ok := map[weights.DType]string{
		weights.F32: "FloatStorage", weights.F16: "HalfStorage", weights.BF16: "BFloat16Storage", weights.F64: "DoubleStorage",
		weights.I64: "LongStorage", weights.I32: "IntStorage", weights.U8: "ByteStorage",
	}[d]
	if !ok {
		panic(fmt.Sprintf("weightstest: PyTorch has no %v", d))
	}
	return name
}
