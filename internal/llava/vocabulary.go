package llava

import (
	"errors"
	"fmt"
	"math"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

// A PieceType says what a piece of a vocabulary is for: SentencePiece's numbers,
// which GGUF files share.
type PieceType int32

// The types of pieces.
const (
	Normal      PieceType = 1
	Unknown     PieceType = 2
	Control     PieceType = 3 // no text spells it
	UserDefined PieceType = 4 // never taken apart
	Unused      PieceType = 5
	Byte        PieceType = 6 // named <0x00> to <0xFF>
)

// A Vocabulary is a SentencePiece BPE model: what a tokenizer is made from. Scores
// and Types are as long as Pieces; ids are indices of these.
type Vocabulary struct {
	Pieces []string
	Scores []float32 // pairs of the highest score are joined first
	Types  []PieceType

	BOS, EOS, Unknown int  // ids
	AddSpacePrefix    bool // a text begins as if a space stood before it
}

// maxPieces bounds a vocabulary; the largest in use have some 256 thousand.
const maxPieces = 1 << 20

// check tells what cannot be about a vocabulary.
func (v *Vocabulary) check() error {
	n := len(v.Pieces)
	switch {
	case n == 0:
		return errors.New("the tokenizer has no pieces")
	case n > maxPieces:
		return fmt.Errorf("the tokenizer has %d pieces, more than %d", n, maxPieces)
	case len(v.Scores) != n:
		return fmt.Errorf("the tokenizer has %d pieces, but %d scores", n, len(v.Scores))
	case len(v.Types) != n:
		return fmt.Errorf("the tokenizer has %d pieces, but %d types", n, len(v.Types))
	}
	for _, special := range []struct {
		name string
		id   int
	}{{"begin-of-text", v.BOS}, {"end-of-text", v.EOS}, {"unknown", v.Unknown}} {
		if special.id < 0 || special.id >= n {
			return fmt.Errorf("the tokenizer's %s id %d is not one of its %d pieces", special.name, special.id, n)
		}
	}
	for i, s := range v.Scores {
		if math.IsNaN(float64(s)) {
			return fmt.Errorf("the tokenizer's piece %d has no number for a score", i)
		}
	}
	for i, t := range v.Types {
		if t < Normal || t > Byte {
			return fmt.Errorf("the tokenizer's piece %d is of an unknown type %d", i, t)
		}
		if _, ok := byteOf(v.Pieces[i]); t == Byte && !ok {
			return fmt.Errorf("the tokenizer's piece %d, %q, is to be a byte, named like <0x0A>", i, v.Pieces[i])
		}
	}
	return nil
}

// byteOf is the byte that a piece named like <0x0A> stands for.
func byteOf(piece string) (b byte, ok bool) {
	if len(piece) != 6 || piece[:3] != "<0x" || piece[5] != '>' {
		return 0, false
	}
	v, err := strconv.ParseUint(piece[3:5], 16, 8)
	return byte(v), err == nil
}

// ReadSentencePiece reads a tokenizer.model file: the protocol buffer ModelProto
// of SentencePiece, as far as a BPE model needs it.
func ReadSentencePiece(data []byte) (*Vocabulary, error) {
	v := &Vocabulary{Unknown: 0, BOS: 1, EOS: 2, AddSpacePrefix: true}
	kind := uint64(1)
	err := fields(data, func(number protowire.Number, field value) error {
		switch number {
		case 1: // pieces
			return v.addPiece(field.bytes)
		case 2: // trainer_spec
			return fields(field.bytes, func(number protowire.Number, field value) error {
				switch number {
				case 3: // model_type
					kind = field.number
				case 40:
					v.Unknown = int(int32(field.number))
				case 41:
					v.BOS = int(int32(field.number))
				case 42:
					v.EOS = int(int32(field.number))
				}
				return nil
			})
		case 3: // normalizer_spec
			return fields(field.bytes, func(number protowire.Number, field value) error {
				switch {
				case number == 2 && len(field.bytes) > 0: // precompiled_charsmap
					return errors.New("tokenizer: it normalises text, which LLaMA's does not and supir cannot")
				case number == 3: // add_dummy_prefix
					v.AddSpacePrefix = field.number != 0
				}
				return nil
			})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	const bpe = 2
	if kind != bpe && len(v.Pieces) > 0 {
		return nil, fmt.Errorf("tokenizer: a SentencePiece model of type %d, want BPE (%d)", kind, bpe)
	}
	return v, v.check()
}

// addPiece reads a SentencePiece message.
func (v *Vocabulary) addPiece(data []byte) error {
	if len(v.Pieces) == maxPieces {
		return fmt.Errorf("tokenizer: more than %d pieces", maxPieces)
	}
	piece, score, typ := "", float32(0), Normal
	err := fields(data, func(number protowire.Number, field value) error {
		switch number {
		case 1:
			piece = string(field.bytes)
		case 2:
			score = math.Float32frombits(uint32(field.number))
		case 3:
			typ = PieceType(field.number)
		}
		return nil
	})
	v.Pieces, v.Scores, v.Types = append(v.Pieces, piece), append(v.Scores, score), append(v.Types, typ)
	return err
}

// A value is a field of a protocol buffer: bytes, or a number of any width.
type value struct {
	bytes  []byte
	number uint64
}

// fields goes through the fields of a message.
func fields(data []byte, visit func(number protowire.Number, field value) error) error {
	for len(data) > 0 {
		number, typ, n := protowire.ConsumeTag(data)
		if n < 0 {
			return fmt.Errorf("tokenizer: not a SentencePiece model: %w", protowire.ParseError(n))
		}
		data = data[n:]
		var field value
		switch typ {
		case protowire.VarintType:
			field.number, n = protowire.ConsumeVarint(data)
		case protowire.Fixed32Type:
			var v uint32
			v, n = protowire.ConsumeFixed32(data)
			field.number = uint64(v)
		case protowire.BytesType:
			field.bytes, n = protowire.ConsumeBytes(data)
		default:
			n = protowire.ConsumeFieldValue(number, typ, data)
		}
		if n < 0 {
			return fmt.Errorf("tokenizer: not a SentencePiece model: %w", protowire.ParseError(n))
		}
		data = data[n:]
		if err := visit(number, field); err != nil {
			return err
		}
	}
	return nil
}
