"""Writes sdxl.safetensors and supir.safetensors (F16, the public key names) and a golden check.safetensors.

    python -m train.export --run RUN [--vae decoder_final.pt] [--check photo.png]
"""
import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from . import adaptor as adaptor_stage, common, prior, robust, schedule, tokenizer, vae as vae_stage
from .models.unet import size_vector

NAME = "supir-small"
# What suits this model where SDXL's defaults don't: few steps, most of them small ones, for its latent has detail in
# little amplitudes that a long last step would smooth away; closer to the picture, of whose detail it knows less; and of
# what the sampler makes only details of a few pixels are taken, for at coarser scales the cleaned picture is nearer the truth.
SAMPLING = {"steps": 16, "schedule": "karras", "restoration": 1, "fidelity.restoration": 0.05, "s_churn": 8,
            "cfg_start": 14, "cfg_end": 5, "color_fix_levels": 2}


def half(module, prefix, keep=lambda name: True):
    """Rounds the module's weights to F16 in place and returns them under their public names."""
    out = {}
    with torch.no_grad():
        for name, v in module.state_dict(keep_vars=True).items():
            v.copy_(v.half().float())
            if keep(name):
                out[prefix + name] = v.detach().half().contiguous()
    return out


def metadata(tok, vae, text, unet, connectors):
    k, c = unet.config, connectors.config
    numbers = {
        "vae.norm_groups": vae.config["groups"], "unet.norm_groups": k["groups"], "unet.head_dim": k["head_dim"],
        "adaptor.norm_groups": k["groups"], "adaptor.head_dim": k["head_dim"], "connectors.norm_groups": c["groups"],
        "connectors.head_dim": c["head_dim"], "clip_l.heads": text.config["heads"], "clip_g.heads": text.config["heads"],
        "min_size": 256, **SAMPLING}
    return {"supir.name": NAME, "supir.tokenizer.merges": "\n".join(f"{a} {b}" for a, b in tok.merges)} | {
        f"supir.{n}": str(v) for n, v in numbers.items()}


@torch.no_grad()
def golden(path, photo, tok, vae, encoder, text, unet, adaptor, connectors):
    """Inputs and outputs of every network in F32 with the exported weights."""
    u8 = np.asarray(Image.open(photo).convert("RGB"))
    y, x = (u8.shape[0] - 128) // 2, (u8.shape[1] - 128) // 2
    pixels = common.to_tensor(u8[y:y + 128, x:x + 128])
    lq = vae.encode(pixels, encoder)
    first = vae.decode(lq)
    prompt = "a photo of a red brick wall, " + tokenizer.POSITIVE
    ids = text.tokens(tok, [prompt])
    context, pooled = text(*ids)
    noise = torch.randn(lq.shape, generator=torch.Generator().manual_seed(7))
    t = torch.tensor([500])
    noisy = schedule.noised(lq, noise, t)
    features = adaptor(noisy, lq, t, context, pooled)
    eps = unet(noisy, t, context, pooled, connectors.bind(features))
    out = {"pixels": pixels, "dr_latent": lq, "stage1": first, "center": vae.encode(first), "ids_l": ids[0].int(),
           "ids_g": ids[1].int(), "context": context, "pooled": pooled, "y": size_vector(pooled, unet.size_dim),
           "x": noisy, "t": t.int(), "eps_unet": unet(noisy, t, context, pooled), "eps": eps,
           "eps_half_control": unet(noisy, t, context, pooled, connectors.bind(features, 0.5)),
           **{f"feature_{i}": f for i, f in enumerate(features)}}
    save_file({k: v.contiguous() for k, v in out.items()}, path, metadata={"prompt": prompt})


def main(argv=None):
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("--run", type=Path, required=True)
    ap.add_argument("--out", type=Path, help="default: RUN/export")
    ap.add_argument("--vae", default="vae_final.pt")
    ap.add_argument("--robust", nargs="+", default=["robust.pt"], help="of several the mean is taken; one named twice counts twice")
    ap.add_argument("--prior", default="prior.pt")
    ap.add_argument("--adaptor", nargs="+", default=["adaptor.pt"], help="of several the mean is taken; one named twice counts twice")
    ap.add_argument("--check", type=Path, help="photograph for the golden")
    a = ap.parse_args(argv)
    out = a.out or a.run / "export"
    out.mkdir(parents=True, exist_ok=True)
    vae = vae_stage.load(a.run / a.vae)
    encoder = robust.load([a.run / p for p in a.robust], vae)
    tok, text, unet = prior.load(a.run / a.prior)
    adaptor, connectors = adaptor_stage.load([a.run / p for p in a.adaptor], unet)
    sdxl = half(vae, "first_stage_model.") | half(unet, "model.diffusion_model.") \
        | half(text.l, "conditioner.embedders.0.transformer.text_model.") | half(text.g, "conditioner.embedders.1.model.")
    supir = half(encoder, "first_stage_model.denoise_encoder.") | half(adaptor, "model.control_model.") \
        | half(connectors, "model.diffusion_model.project_modules.")
    meta = metadata(tok, vae, text, unet, connectors)
    total = 0
    for name, tensors in (("sdxl", sdxl), ("supir", supir)):
        tmp = out / f"{name}.tmp"
        save_file(tensors, tmp, metadata=meta)
        tmp.replace(out / f"{name}.safetensors")
        size = (out / f"{name}.safetensors").stat().st_size
        total += size
        print(f"{name}.safetensors: {len(tensors)} tensors, {size / 1e6:.2f} MB")
    print(f"together {total / 1e6:.2f} MB")
    if a.check:
        golden(out / "check.safetensors", a.check, tok, vae, encoder, text, unet, adaptor, connectors)


if __name__ == "__main__":
    main()
