"""Latents of all scenes, encoded once: the U-Net's stages then train on crops of them.

    python -m train.latents --run RUN --kind target|bad|lq [--scenes close]

Those of RUN/close are named so: close_target0. target: the plain encoder on pictures sharpened by what it softens, what
U-Net and adaptor are to make. bad: the plain encoder on spoiled pictures, for the negative quality words. lq: the
degradation-robust encoder on degraded pictures, `--variants` of them. A killed run continues.
"""
import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from . import common, degrade, scenes, vae as vae_stage


CELL = 16  # side of the squares, in pixels, in which strengths are compared
MOST = 2.0  # amount of sharpening


def strength(x):
    """Root of the mean square of differences between neighbours in each cell of (N, 3, H, W) in [-1, 1]:
    (N, 1, H / 16, W / 16), in levels."""
    y = 127.5 * x.float().mean(1, keepdim=True)
    d = y.diff(dim=3)[:, :, 1:].pow(2) + y.diff(dim=2)[..., 1:].pow(2)
    return F.avg_pool2d(d, CELL, ceil_mode=True).sqrt()


@torch.no_grad()
def aim(vae, pictures, bf16=False):
    """uint8 (N, H, W, 3) -> the same, sharpened here and there by so much that the autoencoder gives gradients as strong as the
    pictures had: it softens foliage much and bricks not at all. Real-ESRGAN too aims at sharpened pictures (section 4.1 there)."""
    device = next(vae.parameters()).device

    def softened(u8):
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            return strength(vae.decode(vae.encode(common.to_tensor(u8).to(device))))

    wanted, plain = strength(common.to_tensor(pictures).to(device)), softened(pictures)
    probe = softened(np.stack([degrade.sharpen(x, 1) for x in pictures]))
    amount = ((wanted - plain) / (probe - plain + 1)).clamp(0, MOST)  # + 1 level: where all is flat there is nothing to gain
    amount = F.interpolate(amount, size=pictures.shape[1:3], mode="bilinear").permute(0, 2, 3, 1).cpu().numpy()
    return np.stack([degrade.sharpen(x, k) for x, k in zip(pictures, amount)])


def variant(kind, seed, i, picture):
    """Scene i, spoiled or degraded."""
    return {"bad": degrade.spoil, "lq": degrade.degrade}[kind](np.random.default_rng((seed, i)), picture)


@torch.no_grad()
def build(run, kind, seed=0, batch=8, limit=None, bf16=True, folder="scenes", vae="vae_final.pt"):
    """float16 (N, z, H / shrink, W / shrink) at run/latents/<kind><seed>.npy"""
    from . import robust
    pictures, _ = scenes.load(run / folder)
    n = min(limit or len(pictures), len(pictures))
    model = vae_stage.load(run / vae)
    encoder = robust.load([run / "robust.pt"], model) if kind == "lq" else model.encoder
    path = run / "latents" / f"{'' if folder == 'scenes' else folder + '_'}{kind}{seed}.npy"
    count_path = path.with_suffix(".count")
    path.parent.mkdir(exist_ok=True)
    done = int(count_path.read_text()) if count_path.exists() and path.exists() else 0
    h = pictures.shape[1] // model.shrink
    if not done:
        np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(n, model.z, h, h)).flush()
    out = np.lib.format.open_memmap(path, mode="r+")
    for i in range(done, n, batch):
        x = pictures[i:min(i + batch, n)]
        x = aim(model, x, bf16) if kind == "target" else np.stack([variant(kind, seed, i + j, u8) for j, u8 in enumerate(x)])
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            z = model.encode(common.to_tensor(x), encoder)
        out[i:i + len(x)] = z.half().numpy()
        count_path.write_text(str(i + len(x)))
    print(f"{kind}{seed}: {n} scenes, deviation {np.asarray(out[::50], np.float32).std():.3f}", flush=True)


def sources(run, kinds):
    """What there is of the scenes and of the close views: a list of (captions, {kind: latents}) as long as both."""
    out = []
    for folder in ("scenes", "close"):
        name = "" if folder == "scenes" else folder + "_"
        if (Path(run) / "latents" / f"{name}{kinds[0]}.npy").exists():
            out.append((scenes.load(Path(run) / folder)[1], {k: load(run, name + k) for k in kinds}))
    return out


def load(run, name):
    """The memory-mapped latents, as far as they are written."""
    path = Path(run) / "latents" / f"{name}.npy"
    return np.load(path, mmap_mode="r")[:int(path.with_suffix(".count").read_text())]


def main(argv=None):
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("--run", type=Path, required=True)
    ap.add_argument("--kind", choices=["target", "bad", "lq"], required=True)
    ap.add_argument("--variants", type=int, default=1)
    ap.add_argument("--scenes", default="scenes", help="the scenes' folder in RUN")
    ap.add_argument("--limit", type=int)
    ap.add_argument("--threads", type=int, default=2)
    a = ap.parse_args(argv)
    torch.set_num_threads(a.threads)
    for seed in range(a.variants):
        build(a.run, a.kind, seed, limit=a.limit, folder=a.scenes)


if __name__ == "__main__":
    main()
