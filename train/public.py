"""Networks from files in the public layout: SDXL's and SUPIR's, or this project's small ones. Every size is read from
the tensors; the groups of norms and the heads' sizes, which tensors don't tell, from the metadata, as supir does."""
import gzip
import re
from pathlib import Path

from . import tokenizer
from .models.adaptor import Adaptor, Connectors
from .models.text import Text, TextG, TextL
from .models.unet import UNet
from .models.vae import VAE, Encoder
from .weights import FileError, load, read

MERGES = Path(__file__).parents[1] / "internal" / "clip" / "data" / "clip_merges.txt.gz"
PREFIX = {"vae": "first_stage_model.", "encoder": "first_stage_model.denoise_encoder.",
          "unet": "model.diffusion_model.", "adaptor": "model.control_model.",
          "connectors": "model.diffusion_model.project_modules.",
          "clip_l": "conditioner.embedders.0.transformer.text_model.", "clip_g": "conditioner.embedders.1.model."}


def under(tensors, prefix, leave=()):
    """The tensors under a prefix, by what follows it; 1x1 convolutions that stand for linear layers flattened."""
    out = {}
    for k, v in tensors.items():
        name = k[len(prefix):]
        if k.startswith(prefix) and v.is_floating_point() and not any(name.startswith(x) for x in leave):
            flat = v.ndim == 4 and v.shape[2:] == (1, 1) and re.search(r"\.proj_(in|out)\.weight$", k) and "attn_1" not in k
            out[name] = (v[:, :, 0, 0] if flat else v).float()
    return out


def count(tensors, pattern):
    """One more than the largest number that stands in the pattern's group; 0 if nothing matches."""
    return max((int(m[1]) for k in tensors if (m := re.match(pattern, k))), default=-1) + 1


def trunk(t, groups, head_dim, pooled=None):
    """The sizes of a U-Net or an adaptor."""
    channels = t["input_blocks.0.0.weight"].shape[0]
    level, mult, depth, blocks = 0, [], [], 0
    for i in range(1, count(t, r"input_blocks\.(\d+)\.")):
        if f"input_blocks.{i}.0.op.weight" in t:
            level += 1
            continue
        if len(mult) == level:
            mult.append(t[f"input_blocks.{i}.0.out_layers.3.weight"].shape[0] // channels)
            depth.append(count(t, rf"input_blocks\.{i}\.1\.transformer_blocks\.(\d+)\."))
        blocks += level == 0
    context = next(v.shape[1] for k, v in t.items() if k.endswith("attn2.to_k.weight"))
    y = t["label_emb.0.0.weight"].shape[1]
    return dict(channels=channels, mult=tuple(mult), depth=tuple(depth), blocks=blocks, groups=groups, head_dim=head_dim,
                middle=count(t, r"middle_block\.1\.transformer_blocks\.(\d+)\."), context=context,
                pooled=pooled, size_dim=(y - pooled) // 6, z=t["input_blocks.0.0.weight"].shape[1])


def encoder_sizes(t):
    """ch, mult, blocks of an encoder without prefix, and the blocks more at its smallest size."""
    ch, levels = t["conv_in.weight"].shape[0], count(t, r"down\.(\d+)\.")
    blocks = count(t, r"down\.0\.block\.(\d+)\.")
    return dict(ch=ch, mult=tuple(t[f"down.{i}.block.0.conv2.weight"].shape[0] // ch for i in range(levels)), blocks=blocks,
                deep=count(t, rf"down\.{levels - 1}\.block\.(\d+)\.") - blocks, attention="mid.attn_1.q.weight" in t)

SUPIR = tuple(PREFIX[k] for k in ("encoder", "adaptor", "connectors"))  # what SUPIR's file has


class Model:
    """All networks of a pair of files, or of one that holds both, frozen."""

    def __init__(self, sdxl, supir=None):
        supir = supir or sdxl
        self.sdxl, self.supir = Path(sdxl), Path(supir)
        a, self.metadata = read(sdxl)
        b, more = (a, {}) if self.sdxl == self.supir else read(supir)
        self.metadata |= more
        both = a | b
        self.tensors = {k: v for k, v in b.items() if k.startswith(SUPIR)}
        for path, own, prefix in ((sdxl, a, PREFIX["unet"] + "input_blocks.0."), (sdxl, a, PREFIX["vae"] + "decoder."),
                                  (sdxl, a, PREFIX["clip_l"]), (sdxl, a, PREFIX["clip_g"]),
                                  *((supir, b, prefix) for prefix in SUPIR)):
            if not any(k.startswith(prefix) for k in own):
                raise FileError(f"{path}: nothing under {prefix}*: name the SDXL file first, the SUPIR file second")
        try:
            self.build(both)
        except (KeyError, StopIteration, RuntimeError, IndexError) as e:
            raise FileError(f"{sdxl}, {supir}: not a model in the public layout ({type(e).__name__}: {e})") from e

    def number(self, name, default):
        return int(self.metadata.get(f"supir.{name}", default))

    def build(self, t):
        groups = lambda part: self.number(f"{part}.norm_groups", 32)
        heads = lambda part: self.number(f"{part}.head_dim", 64)
        v = under(t, PREFIX["vae"], leave=("denoise_encoder.",))
        v = {k: x for k, x in v.items() if k.split(".")[0] in ("encoder", "decoder", "quant_conv", "post_quant_conv")}
        k = encoder_sizes(under(v, "encoder."))
        deep = k.pop("deep")
        if deep:
            raise FileError(f"{self.sdxl}: the encoder's last level has more blocks than its first")
        z = v["post_quant_conv.weight"].shape[0]
        self.vae = load(VAE(z=z, groups=groups("vae"), **k), v, self.sdxl)
        e = under(t, PREFIX["encoder"])
        s = encoder_sizes(e)
        self.encoder = load(Encoder(s["ch"], s["mult"], z, s["blocks"], groups("vae"), s["deep"], s["attention"]), e, self.supir)

        l, g = under(t, PREFIX["clip_l"]), under(t, PREFIX["clip_g"], leave=("logit_scale",))
        l.pop("embeddings.position_ids", None)
        self.tok = self.tokenizer()
        self.text = self.texts(l, g)
        pooled = g["text_projection"].shape[1]
        u = under(t, PREFIX["unet"], leave=("project_modules.",))
        self.unet = load(UNet(**trunk(u, groups("unet"), heads("unet"), pooled)), u, self.sdxl)
        c = under(t, PREFIX["adaptor"])
        self.adaptor = load(Adaptor(**trunk(c, groups("adaptor"), heads("adaptor"), pooled)), c, self.supir)
        p = under(t, PREFIX["connectors"])
        kind = "zerosft" if any(".mlp_shared." in k for k in p) else "zeroconv"
        hidden = next((v.shape[0] for k, v in p.items() if k.endswith(".mlp_shared.0.weight")), 0)
        self.connectors = load(Connectors(self.unet, groups("connectors"), heads("connectors"), hidden, kind), p, self.supir)
        for m in (self.vae, self.encoder, self.text, self.unet, self.adaptor, self.connectors):
            m.requires_grad_(False).eval()

    def tokenizer(self):
        merges = self.metadata.get("supir.tokenizer.merges")
        lines = merges.split("\n") if merges else gzip.open(MERGES, "rt", encoding="utf-8").read().split("\n")
        return tokenizer.Tokenizer([tuple(m.split(" ")) for m in lines if m and not m.startswith("#version")])

    def texts(self, l, g):
        """Both text encoders as one module."""
        sizes = lambda t, key, layers: (t[key].shape, count(t, layers))
        (ids, wl), nl = sizes(l, "embeddings.token_embedding.weight", r"encoder\.layers\.(\d+)\.")
        (_, wg), ng = sizes(g, "token_embedding.weight", r"transformer\.resblocks\.(\d+)\.")
        text = Text(ids, self.tok.end, l=wl, g=wg, layers=1, heads=1, pooled=1)
        text.l = TextL(ids, wl, nl, self.number("clip_l.heads", max(1, wl // 64)))
        norm = {k: v for k, v in text.l.state_dict().items() if k.startswith("final_layer_norm.")}  # unused, so that
        load(text.l, norm | l, self.sdxl)                                                           # convert drops it
        text.g = load(TextG(ids, wg, ng, self.number("clip_g.heads", max(1, wg // 64)), g["text_projection"].shape[1]),
                      g, self.sdxl)
        return text

    def context(self, prompts, device="cpu"):
        """-> context (N, 77, D), pooled (N, P)"""
        return self.text(*self.text.tokens(self.tok, prompts, device))

    def factor(self):
        """By what the VAE shrinks, times what the U-Net halves: crops are multiples of it."""
        return self.vae.shrink * 2 ** (len(self.unet.config["mult"]) - 1)
