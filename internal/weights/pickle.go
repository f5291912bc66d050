package weights

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
)

// Pickles are programs for a small stack machine, of which Python's lets a file
// import and call whatever it likes. This one builds plain values, and knows of
// functions only those that [torchNames] lists, which are written here: nothing
// is looked up, imported or run. Any other name is an error.

// maxObjects bounds the values a pickle makes; a checkpoint takes some thirty
// for each tensor.
const maxObjects = 1 << 21

// Values of a pickle: nil, bool, int64, float64, string, []byte, and these.
type (
	pyTuple []any
	pyList  struct{ items []any }
	pyDict  struct{ keys, values []any }
	pyName  string   // of a function or class that torchNames lists
	pyOther struct{} // something that no weight is made of
)

// unpickler reads pickles, one after another, from data.
type unpickler struct {
	path   string
	size   int // of the whole file
	data   []byte
	pos    int
	stored func(id pyTuple) (any, error) // what a persistent id stands for

	stack   []any
	marks   []int // heights of the stack
	memo    map[uint64]any
	objects int
	texts   int // bytes
}

func (u *unpickler) corrupt(format string, args ...any) error {
	return &CorruptError{File: u.path, Reason: fmt.Sprintf("a damaged pickle: "+format, args...)}
}

// load runs a pickle to its end and gives the value it leaves.
func (u *unpickler) load() (any, error) {
	u.stack, u.marks, u.memo = u.stack[:0], u.marks[:0], map[uint64]any{}
	for {
		op, err := u.bytes(1)
		if err != nil {
			return nil, err
		}
		if op[0] == '.' { // STOP
			return u.pop()
		}
		if err := u.step(op[0]); err != nil {
			return nil, err
		}
	}
}

// step runs one operation. Their names are those of Python's pickletools.
func (u *unpickler) step(op byte) error {
	switch op {
	case 0x80: // PROTO
		version, err := u.bytes(1)
		if err == nil && version[0] > 5 {
			err = u.corrupt("of protocol %d", version[0])
		}
		return err
	case 0x95: // FRAME
		_, err := u.bytes(8)
		return err
	case '(': // MARK
		if u.objects++; u.objects > maxObjects {
			return u.corrupt("it makes more than %d values", maxObjects)
		}
		u.marks = append(u.marks, len(u.stack))
		return nil
	case '0': // POP
		if n := len(u.marks); n > 0 && u.marks[n-1] == len(u.stack) {
			u.marks = u.marks[:n-1]
			return nil
		}
		_, err := u.pop()
		return err
	case '1': // POP_MARK
		_, err := u.sinceMark()
		return err
	case '2': // DUP
		top, err := u.top()
		if err != nil {
			return err
		}
		return u.push(top)
	case 'N': // NONE
		return u.push(nil)
	case 0x88, 0x89: // NEWTRUE, NEWFALSE
		return u.push(op == 0x88)
	case 'I', 'L', 'F', 'S', 'V':
		return u.line(op)
	case 'J', 'K', 'M', 'G', 0x8a, 0x8b:
		return u.number(op)
	case 'T', 'U', 'X', 0x8c, 0x8d, 'B', 'C', 0x8e, 0x96:
		return u.text(op)
	case '}': // EMPTY_DICT
		return u.push(&pyDict{})
	case ']': // EMPTY_LIST
		return u.push(&pyList{})
	case ')': // EMPTY_TUPLE
		return u.push(pyTuple{})
	case 0x8f: // EMPTY_SET
		return u.push(pyOther{})
	case 't', 'l', 'd', 0x91: // TUPLE, LIST, DICT, FROZENSET
		return u.container(op)
	case 0x85, 0x86, 0x87: // TUPLE1, TUPLE2, TUPLE3
		n := int(op-0x85) + 1
		items, err := u.take(len(u.stack) - n)
		if err != nil {
			return err
		}
		return u.push(pyTuple(items))
	case 'a', 'e', 's', 'u', 0x90: // APPEND, APPENDS, SETITEM, SETITEMS, ADDITEMS
		return u.fill(op)
	case 'q', 'r', 'p', 0x94, 'h', 'j', 'g':
		return u.remember(op)
	case 'c', 0x93: // GLOBAL, STACK_GLOBAL
		return u.global(op)
	case 'R', 0x81, 0x92: // REDUCE, NEWOBJ, NEWOBJ_EX
		return u.call(op)
	case 'b': // BUILD
		return u.build()
	case 'Q': // BINPERSID
		id, err := u.pop()
		if err != nil {
			return err
		}
		tuple, ok := id.(pyTuple)
		if !ok {
			return u.corrupt("a persistent id that is no tuple")
		}
		value, err := u.stored(tuple)
		if err != nil {
			return err
		}
		return u.push(value)
	}
	return u.corrupt("operation %#02x, which no weight file needs, at byte %d", op, u.pos-1)
}

// bytes takes the next n bytes.
func (u *unpickler) bytes(n uint64) ([]byte, error) {
	if n > uint64(len(u.data)-u.pos) {
		return nil, u.corrupt("cut short at byte %d", len(u.data))
	}
	b := u.data[u.pos : u.pos+int(n)]
	u.pos += int(n)
	return b, nil
}

// upToNewline takes the rest of a line.
func (u *unpickler) upToNewline() (string, error) {
	n := bytes.IndexByte(u.data[u.pos:], '\n')
	if n < 0 {
		return "", u.corrupt("cut short at byte %d", len(u.data))
	}
	line := u.data[u.pos : u.pos+n]
	u.pos += n + 1
	return u.copied(line)
}

// copied is a text of its own, which outlives the file.
func (u *unpickler) copied(b []byte) (string, error) {
	if u.texts += len(b); u.texts > maxText {
		return "", u.corrupt("more than %d MiB of text", maxText>>20)
	}
	return string(b), nil
}

func (u *unpickler) push(v any) error {
	if u.objects++; u.objects > maxObjects {
		return u.corrupt("it makes more than %d values", maxObjects)
	}
	u.stack = append(u.stack, v)
	return nil
}

// top is the uppermost value, which must lie above the last mark.
func (u *unpickler) top() (any, error) {
	floor := 0
	if n := len(u.marks); n > 0 {
		floor = u.marks[n-1]
	}
	if len(u.stack) <= floor {
		return nil, u.corrupt("it takes a value from an empty stack at byte %d", u.pos-1)
	}
	return u.stack[len(u.stack)-1], nil
}

func (u *unpickler) pop() (any, error) {
	v, err := u.top()
	if err == nil {
		u.stack = u.stack[:len(u.stack)-1]
	}
	return v, err
}

// take removes and copies the values from that height up.
func (u *unpickler) take(height int) ([]any, error) {
	floor := 0
	if n := len(u.marks); n > 0 {
		floor = u.marks[n-1]
	}
	if height < floor {
		return nil, u.corrupt("it takes a value from an empty stack at byte %d", u.pos-1)
	}
	items := append([]any(nil), u.stack[height:]...)
	u.stack = u.stack[:height]
	return items, nil
}

// sinceMark removes the last mark and takes what lies above it.
func (u *unpickler) sinceMark() ([]any, error) {
	n := len(u.marks)
	if n == 0 {
		return nil, u.corrupt("it looks for a mark that is not there at byte %d", u.pos-1)
	}
	items, err := u.take(u.marks[n-1])
	u.marks = u.marks[:n-1]
	return items, err
}

// line pushes what older protocols write as a line of text.
func (u *unpickler) line(op byte) error {
	line, err := u.upToNewline()
	if err != nil {
		return err
	}
	switch op {
	case 'I': // INT, and once truth values
		if line == "01" || line == "00" {
			return u.push(line == "01")
		}
		fallthrough
	case 'L': // LONG
		if line != "" && line[len(line)-1] == 'L' {
			line = line[:len(line)-1]
		}
		n, err := strconv.ParseInt(line, 10, 64)
		if err != nil {
			return u.push(pyOther{}) // a number beyond 64 bits
		}
		return u.push(n)
	case 'F': // FLOAT
		x, err := strconv.ParseFloat(line, 64)
		if err != nil {
			return u.corrupt("%.20q is no number", line)
		}
		return u.push(x)
	case 'S': // STRING, in quotes
		if len(line) < 2 || line[0] != line[len(line)-1] {
			return u.corrupt("a text without quotes")
		}
		return u.push(line[1 : len(line)-1])
	default: // UNICODE
		return u.push(line)
	}
}

func (u *unpickler) number(op byte) error {
	size, ok := map[byte]uint64{'J': 4, 'K': 1, 'M': 2, 'G': 8}[op]
	if !ok { // LONG1, LONG4: as long as they say
		n, err := u.length(map[byte]uint64{0x8a: 1, 0x8b: 4}[op])
		if err != nil {
			return err
		}
		size = n
	}
	b, err := u.bytes(size)
	if err != nil {
		return err
	}
	switch op {
	case 'J': // BININT
		return u.push(int64(int32(binary.LittleEndian.Uint32(b))))
	case 'K', 'M': // BININT1, BININT2
		n := int64(b[0])
		if op == 'M' {
			n = int64(binary.LittleEndian.Uint16(b))
		}
		return u.push(n)
	case 'G': // BINFLOAT
		return u.push(math.Float64frombits(binary.BigEndian.Uint64(b)))
	}
	if len(b) > 8 {
		return u.push(pyOther{})
	}
	var n int64
	for i, x := range b {
		n |= int64(x) << (8 * i)
	}
	if len(b) > 0 && len(b) < 8 { // the sign
		n = n << (64 - 8*len(b)) >> (64 - 8*len(b))
	}
	return u.push(n)
}

// length reads a length of so many bytes.
func (u *unpickler) length(size uint64) (uint64, error) {
	b, err := u.bytes(size)
	if err != nil {
		return 0, err
	}
	var n uint64
	for i, x := range b {
		n |= uint64(x) << (8 * i)
	}
	return n, nil
}

// text pushes texts and bytes, whose length comes first.
func (u *unpickler) text(op byte) error {
	size := uint64(4) // BINSTRING, BINUNICODE, BINBYTES
	switch op {
	case 'U', 0x8c, 'C': // SHORT_BINSTRING, SHORT_BINUNICODE, SHORT_BINBYTES
		size = 1
	case 0x8d, 0x8e, 0x96: // BINUNICODE8, BINBYTES8, BYTEARRAY8
		size = 8
	}
	n, err := u.length(size)
	if err != nil {
		return err
	}
	b, err := u.bytes(n)
	if err != nil {
		return err
	}
	if op == 'B' || op == 'C' || op == 0x8e || op == 0x96 {
		return u.push(b)
	}
	text, err := u.copied(b)
	if err != nil {
		return err
	}
	return u.push(text)
}

// container makes one of what lies above the mark.
func (u *unpickler) container(op byte) error {
	items, err := u.sinceMark()
	if err != nil {
		return err
	}
	switch op {
	case 't':
		return u.push(pyTuple(items))
	case 'l':
		return u.push(&pyList{items})
	case 'd':
		d := &pyDict{}
		if len(items)%2 != 0 {
			return u.corrupt("a dictionary's key without a value")
		}
		d.set(items)
		return u.push(d)
	}
	return u.push(pyOther{})
}

// set adds keys and values, in turn.
func (d *pyDict) set(items []any) {
	for i := 0; i+1 < len(items); i += 2 {
		d.keys = append(d.keys, items[i])
		d.values = append(d.values, items[i+1])
	}
}

// fill adds to a container.
func (u *unpickler) fill(op byte) (err error) {
	var items []any
	switch op {
	case 'a':
		items, err = u.take(len(u.stack) - 1)
	case 's':
		items, err = u.take(len(u.stack) - 2)
	default:
		items, err = u.sinceMark()
	}
	if err != nil {
		return err
	}
	to, err := u.top()
	if err != nil {
		return err
	}
	pairs := op == 's' || op == 'u'
	switch to := to.(type) {
	case *pyList:
		if !pairs && op != 0x90 {
			to.items = append(to.items, items...)
			return nil
		}
	case *pyDict:
		if pairs && len(items)%2 == 0 {
			to.set(items)
			return nil
		}
	case pyOther:
		return nil
	}
	return u.corrupt("it adds to a value that takes nothing, at byte %d", u.pos-1)
}

// remember puts values aside and fetches them again.
func (u *unpickler) remember(op byte) error {
	var at uint64
	var err error
	switch op {
	case 'q', 'h': // BINPUT, BINGET
		at, err = u.length(1)
	case 'r', 'j': // LONG_BINPUT, LONG_BINGET
		at, err = u.length(4)
	case 'p', 'g': // PUT, GET
		var line string
		if line, err = u.upToNewline(); err == nil {
			if at, err = strconv.ParseUint(line, 10, 32); err != nil {
				err = u.corrupt("%.20q is no place", line)
			}
		}
	default: // MEMOIZE
		at = uint64(len(u.memo))
	}
	if err != nil {
		return err
	}
	if op == 'h' || op == 'j' || op == 'g' {
		v, ok := u.memo[at]
		if !ok {
			return u.corrupt("it fetches a value that was not put aside, at byte %d", u.pos-1)
		}
		return u.push(v)
	}
	v, err := u.top()
	if err != nil {
		return err
	}
	if u.memo[at] = v; len(u.memo) > maxObjects {
		return u.corrupt("it puts more than %d values aside", maxObjects)
	}
	return nil
}

// global pushes the name of a function or class, if it is one of those known.
func (u *unpickler) global(op byte) error {
	var module, name string
	if op == 'c' {
		var err error
		if module, err = u.upToNewline(); err != nil {
			return err
		}
		if name, err = u.upToNewline(); err != nil {
			return err
		}
	} else {
		items, err := u.take(len(u.stack) - 2)
		if err != nil {
			return err
		}
		m, isText := items[0].(string)
		n, isText2 := items[1].(string)
		if !isText || !isText2 {
			return u.corrupt("a name that is no text")
		}
		module, name = m, n
	}
	full := pyName(module + "." + name)
	if _, known := torchNames[full]; !known {
		return &UnsupportedError{File: u.path, Reason: fmt.Sprintf(
			"its pickle asks for %.100q, which is no part of weights: refused, nothing was run; "+
				"if the file comes from somebody you trust, save its state_dict with PyTorch as .safetensors", full)}
	}
	return u.push(full)
}

// call makes the value that a function or class of [torchNames] stands for.
func (u *unpickler) call(op byte) error {
	n := 2
	if op == 0x92 {
		n = 3 // NEWOBJ_EX has named arguments too
	}
	items, err := u.take(len(u.stack) - n)
	if err != nil {
		return err
	}
	name, isName := items[0].(pyName)
	args, isTuple := items[1].(pyTuple)
	if !isName || !isTuple {
		return u.corrupt("it calls what is no function, at byte %d", u.pos-1)
	}
	made := torchNames[name]
	if made == nil {
		return &UnsupportedError{File: u.path, Reason: fmt.Sprintf("its pickle calls %q, which is no part of weights: refused, nothing was run", name)}
	}
	value, err := made(u, args)
	if err != nil {
		return err
	}
	return u.push(value)
}

// build passes over a value's further state, such as the versions that an
// OrderedDict of a module carries along: no weight is in it.
func (u *unpickler) build() error {
	if _, err := u.pop(); err != nil {
		return err
	}
	to, err := u.top()
	if err != nil {
		return err
	}
	switch to.(type) {
	case *pyDict, *torchTensor, pyOther:
		return nil
	}
	return u.corrupt("it gives state to a value that has none, at byte %d", u.pos-1)
}
