package llava

import (
	"supir/internal/nn"
	"supir/internal/weights"
)

// Vision is CLIP's vision tower and the projector behind it.
type Vision struct {
	Patch     nn.Conv2D       `key:"v.patch_embd"`           // [C, 3, patch, patch]
	Class     *weights.Tensor `key:"v.class_embd"`           // [C]
	Position  *weights.Tensor `key:"v.position_embd.weight"` // [1 + patches, C]
	PreNorm   nn.LayerNorm    `key:"v.pre_ln"`
	Blocks    []VisionBlock   `key:"v.blk.*"`
	Projector Projector       `key:"mm"`

	Size    int // of the picture's side in pixels
	Heads   int
	Epsilon float32
	Exact   bool // GELU instead of CLIP's quick one
	Mean    [3]float32
	Std     [3]float32
}

// VisionBlock is one layer of the tower.
type VisionBlock struct {
	Norm1 nn.LayerNorm `key:"ln1"`
	Q     nn.Linear    `key:"attn_q"`
	K     nn.Linear    `key:"attn_k"`
	V     nn.Linear    `key:"attn_v"`
	Out   nn.Linear    `key:"attn_out"`
	Norm2 nn.LayerNorm `key:"ln2"`
	Up    nn.Linear    `key:"ffn_up"`   // the MLP's first layer; converters have
	Down  nn.Linear    `key:"ffn_down"` // swapped the names of the two
}

// Projector turns the tower's features into what the language model takes for words.
type Projector struct {
	First  nn.Linear `key:"0"`
	Second nn.Linear `key:"2"`
}

// CLIP's mean and spread of pixels, from 0 to 1.
var (
	clipMean = [3]float32{0.48145466, 0.4578275, 0.40821073}
	clipStd  = [3]float32{0.26862954, 0.26130258, 0.27577711}
)

// maxSide bounds the picture's side, maxPatch that of its patches (csrc does).
const (
	maxSide  = 4096
	maxPatch = 64
)

func (v *Vision) load(set *weights.Set, r *weights.Report) {
	set.Fill(v, "llava", "", r)
	set.Unexpected(r, "v.blk", "mm")
	meta := reader{set, r}
	v.Size = meta.integer("clip.vision.image_size", -1, 1, maxSide)
	v.Heads = meta.integer("clip.vision.attention.head_count", -1, 1, 1<<12)
	v.Epsilon = meta.number("clip.vision.attention.layer_norm_epsilon", 1e-5, 1e-12, 1)
	v.Mean = meta.colour("clip.vision.image_mean", clipMean)
	v.Std = meta.colour("clip.vision.image_std", clipStd)
	v.Exact, _ = weights.Value[bool](set, "clip.use_gelu")
	if silu, _ := weights.Value[bool](set, "clip.use_silu"); silu {
		r.Invalid("metadata clip.use_silu: LLaVA-1.5's tower has GELU")
	}
	v.cut(meta)

	c := -1
	if r.Want(v.Class, -1) {
		c = v.Class.Shape[0]
	}
	r.Want(v.Patch.Weight, c, 3, -1, -1)
	r.Want(v.Patch.Bias, c)
	v.PreNorm.Check(r, c)
	if c > 0 && c%v.Heads != 0 {
		r.Invalid("v.class_embd: %d features do not divide into %d heads", c, v.Heads)
	}
	if w := v.Patch.Weight; w != nil && len(w.Shape) == 4 {
		patch := w.Shape[3]
		switch {
		case patch < 1 || w.Shape[2] != patch || v.Size%patch != 0:
			r.Invalid("v.patch_embd.weight: patches of %d×%d do not tile a picture of %d (metadata clip.vision.image_size)", w.Shape[2], patch, v.Size)
		case patch > maxPatch:
			r.Invalid("v.patch_embd.weight: patches of %d×%d: want %d at most", patch, patch, maxPatch)
		default:
			r.Want(v.Position, 1+(v.Size/patch)*(v.Size/patch), c)
		}
	}
	for i := range v.Blocks {
		v.Blocks[i].check(r, c)
	}
	p := &v.Projector
	r.Want(p.First.Weight, -1, c)
	r.Want(p.First.Bias, p.First.Out())
	r.Want(p.Second.Weight, -1, p.First.Out())
	r.Want(p.Second.Bias, p.Second.Out())
}

// cut leaves the layers that are used: those of the metadata's count, which files
// that hold only what is needed have for all, or up to the one that is said to
// give the features.
func (v *Vision) cut(meta reader) {
	n := meta.integer("clip.vision.block_count", len(v.Blocks), 1, 1<<10)
	if list, ok := weights.Value[[]int64](meta.set, "clip.vision.feature_layer"); ok {
		if len(list) != 1 || list[0] < 1 || list[0] > int64(len(v.Blocks)) {
			meta.r.Invalid("metadata clip.vision.feature_layer: %v, want one layer, at most %d", list, len(v.Blocks))
			return
		}
		n = int(list[0])
	}
	if n > len(v.Blocks) {
		meta.r.Invalid("metadata clip.vision.block_count: %d, but there are tensors of %d", n, len(v.Blocks))
		return
	}
	v.Blocks = v.Blocks[:n]
}

func (b *VisionBlock) check(r *weights.Report, c int) {
	if b.Up.Weight != nil && b.Down.Weight != nil && b.Up.In() != c && b.Down.In() == c {
		b.Up, b.Down = b.Down, b.Up
	}
	for _, w := range []struct {
		linear  *nn.Linear
		in, out int
	}{{&b.Q, c, c}, {&b.K, c, c}, {&b.V, c, c}, {&b.Out, c, c}, {&b.Up, c, -1}, {&b.Down, b.Up.Out(), c}} {
		r.Want(w.linear.Weight, w.out, w.in)
		r.Want(w.linear.Bias, w.linear.Out())
	}
	b.Norm1.Check(r, c)
	b.Norm2.Check(r, c)
}

// Tokens is how many tokens a picture becomes.
func (v *Vision) Tokens() int { return v.Position.Shape[0] - 1 }

// Forward maps a picture of 3×Size×Size, normalised, to Tokens tokens of the
// language model.
func (v *Vision) Forward(g *nn.Graph, picture nn.Map) nn.Tokens {
	patches := g.Tokens(v.Patch.Strided(g, picture, v.Patch.Weight.Shape[3], nn.Padding{}))
	patches = nn.Name(g, patches, "vision.patch_embeddings") // P×C
	x := g.ConcatTokens(g.Token(v.Class), patches)           // (1+P)×C
	x = nn.Name(g, nn.AddTable(g, x, v.Position), "vision.embeddings")
	x = nn.Name(g, v.PreNorm.Forward(g, x, v.Epsilon), "vision.pre_ln")
	for i := range v.Blocks {
		x = nn.Name(g, v.Blocks[i].forward(g, x, v), "vision.layer.%d", i)
	}
	x = nn.Name(g, g.Some(x, 1, x.T-1), "vision.features") // without the class token
	x = nn.Name(g, v.Projector.First.Forward(g, x), "projector.linear_1")
	return v.Projector.Second.Forward(g, nn.GELU(g, x))
}

func (b *VisionBlock) forward(g *nn.Graph, x nn.Tokens, v *Vision) nn.Tokens {
	n := b.Norm1.Forward(g, x, v.Epsilon)
	y := g.Attention(b.Q.Forward(g, n), b.K.Forward(g, n), b.V.Forward(g, n), v.Heads, false)
	x = nn.Add(g, x, b.Out.Forward(g, y))
	n = b.Up.Forward(g, b.Norm2.Forward(g, x, v.Epsilon))
	if v.Exact {
		n = nn.GELU(g, n)
	} else {
		n = nn.QuickGELU(g, n)
	}
	return nn.Add(g, x, b.Down.Forward(g, n))
}
