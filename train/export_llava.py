"""Writes the small LLaVA as llava-text.gguf and llava-mmproj.gguf, in llama.cpp's layout: matrices F16, the rest F32.

    python -m train.export_llava --run RUN --out embedded
    python -m train.export_llava --golden internal/llava/testdata

The second writes a still smaller model of random weights, with what PyTorch makes of them, for the tests in Go.
"""
import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from . import gguf, llava, sentencepiece
from .models.llava import MEAN, STD, LLaVA

CONTEXT = 512  # positions that the language model is said to know; its rotary positions have no end


def tensors(module, prefix):
    """The module's parameters as GGUF holds them; matrices are rounded to F16 in place, so that PyTorch computes with
    the same numbers."""
    out = {}
    for name, p in module.named_parameters():
        if p.dim() > 1 and "position_embd" not in name:
            p.data.copy_(p.data.half().float())
            out[prefix + name] = p.detach().half().numpy()
        else:
            out[prefix + name] = p.detach().float().numpy()
    return out


def write(folder, model, tok, prompt=llava.PROMPT):
    """The pair of files; returns their sizes."""
    k = model.config
    width, layers, heads, hidden = k["text"]
    text = {
        "general.architecture": "llama", "general.type": "model", "general.name": "supir-small llava",
        "llama.context_length": CONTEXT, "llama.embedding_length": width, "llama.block_count": layers,
        "llama.feed_forward_length": hidden, "llama.attention.head_count": heads, "llama.attention.head_count_kv": heads,
        "llama.rope.dimension_count": width // heads, "llama.rope.freq_base": 10000.0,
        "llama.attention.layer_norm_rms_epsilon": 1e-5, "llama.vocab_size": len(tok.pieces), "general.file_type": 1,
        "tokenizer.ggml.model": "llama", "tokenizer.ggml.pre": "default", "tokenizer.ggml.tokens": list(tok.pieces),
        "tokenizer.ggml.scores": list(tok.scores), "tokenizer.ggml.token_type": list(tok.types),
        "tokenizer.ggml.bos_token_id": sentencepiece.BOS, "tokenizer.ggml.eos_token_id": sentencepiece.EOS,
        "tokenizer.ggml.unknown_token_id": 0, "tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.add_eos_token": False,
        "supir.llava.prompt": prompt}
    width, layers, heads, hidden = k["tower"]
    vision = {
        "general.architecture": "clip", "general.name": "supir-small llava", "general.file_type": 1,
        "clip.has_text_encoder": False, "clip.has_vision_encoder": True, "clip.has_llava_projector": True,
        "clip.projector_type": "mlp", "clip.use_gelu": False, "clip.vision.image_size": k["size"],
        "clip.vision.patch_size": k["patch"], "clip.vision.embedding_length": width,
        "clip.vision.feed_forward_length": hidden, "clip.vision.projection_dim": k["text"][0],
        "clip.vision.attention.head_count": heads, "clip.vision.attention.layer_norm_epsilon": 1e-5,
        "clip.vision.block_count": layers, "clip.vision.image_mean": list(MEAN), "clip.vision.image_std": list(STD)}
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    gguf.write(folder / "llava-text.gguf", text, tensors(model.text, ""))
    gguf.write(folder / "llava-mmproj.gguf", vision, tensors(model.v, "v.") | tensors(model.mm, "mm."))
    return [(folder / name).stat().st_size for name in ("llava-text.gguf", "llava-mmproj.gguf")]


def golden(folder):
    """A pair of random weights, a picture, and what comes of it."""
    torch.manual_seed(1)
    tok = sentencepiece.Tokenizer(*sentencepiece.learn(
        ["a photo of red wood circle, blue stone background", llava.PROMPT.replace("<image>", "")], 60))
    head, tail = llava.PROMPT.split("<image>")
    before, after = [sentencepiece.BOS, *tok.encode(head)], tok.encode(tail)
    model = LLaVA(len(tok.pieces), before, after, 32, 8, (32, 2, 2, 64), (32, 2, 2, 64)).requires_grad_(False)
    for name, p in model.named_parameters():  # norms and biases that do something
        if p.dim() == 1:
            p.add_(0.2 * torch.randn(p.shape))
    model.text.token_embd.weight.mul_(2)
    write(folder, model, tok)
    y, x = np.mgrid[:32, :32]
    picture = np.stack([8 * x, 8 * y, 4 * (x + y)], -1).astype(np.uint8)
    Image.fromarray(picture).save(Path(folder) / "picture.png")
    pixels = llava.tensor(picture[None], 32)
    ids = model.write(pixels, -1, 12)
    features = model.see(pixels)
    save_file({"before": torch.tensor(before).int(), "after": torch.tensor(after).int(),
               "tokens": model.mm(features)[0].contiguous(), "ids": torch.tensor(ids[0]).int(),
               "logits": model(features, torch.tensor(ids))[0, :-1].contiguous()},
              Path(folder) / "golden.safetensors", metadata={"caption": " ".join(tok.decode(ids[0]).split())})


def main(argv=None):
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("--run", type=Path)
    ap.add_argument("--name", default="llava", help="the checkpoint's name")
    ap.add_argument("--out", type=Path, help="default: RUN/export")
    ap.add_argument("--golden", type=Path, help="write the pair for tests there instead")
    a = ap.parse_args(argv)
    if a.golden:
        return golden(a.golden)
    tok, model = llava.load(a.run / f"{a.name}.pt")
    sizes = write(a.out or a.run / "export", model, tok)
    print(f"llava-text.gguf {sizes[0] / 1e6:.2f} MB, llava-mmproj.gguf {sizes[1] / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
