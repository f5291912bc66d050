"""Latents of all scenes, encoded once: the U-Net's stages then train on crops of them.

    python -m train.latents --run RUN --kind clean|bad|target|lq [--scenes close]

Those of RUN/close are named so: close_clean0. clean: the plain encoder. bad: the plain encoder on spoiled pictures, for the negative quality words.
target: the plain encoder on sharpened pictures, what the adaptor is to aim at. lq: the degradation-robust encoder on
degraded pictures, `--variants` of them. A killed run continues.
"""
import argparse
from pathlib import Path

import numpy as np
import torch

from . import common, degrade, scenes, vae as vae_stage


def variant(kind, seed, i, picture):
    """What the encoder sees for scene i."""
    rng = np.random.default_rng((seed, i))
    return {"clean": lambda: picture, "bad": lambda: degrade.spoil(rng, picture), "target": lambda: degrade.sharpen(picture),
            "lq": lambda: degrade.degrade(rng, picture)}[kind]()


@torch.no_grad()
def build(run, kind, seed=0, batch=8, limit=None, bf16=True, folder="scenes", vae="vae_final.pt"):
    """float16 (N, z, H/4, W/4) at run/latents/<kind><seed>.npy"""
    from . import robust
    pictures, _ = scenes.load(run / folder)
    n = min(limit or len(pictures), len(pictures))
    model = vae_stage.load(run / vae)
    encoder = robust.load([run / "robust.pt"], model) if kind == "lq" else model.encoder
    path = run / "latents" / f"{'' if folder == 'scenes' else folder + '_'}{kind}{seed}.npy"
    count_path = path.with_suffix(".count")
    path.parent.mkdir(exist_ok=True)
    done = int(count_path.read_text()) if count_path.exists() and path.exists() else 0
    h = pictures.shape[1] // 4
    if not done:
        np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(n, model.z, h, h)).flush()
    out = np.lib.format.open_memmap(path, mode="r+")
    for i in range(done, n, batch):
        x = np.stack([variant(kind, seed, j, pictures[j]) for j in range(i, min(i + batch, n))])
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
    ap.add_argument("--kind", choices=["clean", "bad", "target", "lq"], required=True)
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
