"""Restores degraded photographs with the trained stages and scores them beside bicubic.

    degrade.py PHOTOS DEGRADED
    python -m train.evaluate --run RUN --degraded DEGRADED --metrics metrics.py [--presets fidelity quality]

With the settings that the exported model names, by PyTorch; `supir-lab table1` does the same by the Go program.
The metrics come from the given script (its all_metrics). Pictures go to RUN/eval/<preset>/<recipe>/.
"""
import argparse
import importlib.util
import json
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from . import adaptor as adaptor_stage, common, prior, robust, sampler, schedule, tokenizer, vae as vae_stage
from .export import SAMPLING

STEPS = {"n": SAMPLING["steps"], "s_churn": SAMPLING["s_churn"]}
PRESETS = {
    "stage1": None,
    "fidelity": STEPS | dict(cfg=(1.0, 4.0), tau=SAMPLING["fidelity.restoration"]),
    "quality": STEPS | dict(cfg=(SAMPLING["cfg_start"], SAMPLING["cfg_end"]), tau=SAMPLING["restoration"]),
}


class Model:
    """Everything a restoration needs, from a run's checkpoints."""

    def __init__(self, run, vae=None, encoder=None):
        self.vae = vae_stage.load(run / (vae or "vae_final.pt"))
        self.encoder = self.unet = None
        if (run / (encoder or "robust.pt")).exists():
            self.encoder = robust.load([run / (encoder or "robust.pt")], self.vae)
        if (run / "adaptor.pt").exists():
            self.tok, self.text, self.unet = prior.load(run / "prior.pt")
            self.adaptor, self.connectors = adaptor_stage.load([run / "adaptor.pt"], self.unet)

    def context(self, prompt):
        return self.text(*self.text.tokens(self.tok, [prompt]))

    @torch.no_grad()
    def restore(self, x, settings, caption="", seed=1234, fix=True):
        """x (1, 3, H, W) in [-1, 1], sides multiples of 64 -> the same shape. settings None: stage 1 alone."""
        lq = self.vae.encode(x, self.encoder)
        first = self.vae.decode(lq)
        if settings is None:
            return first
        center = self.vae.encode(first)
        positive = ", ".join(p for p in (caption, tokenizer.POSITIVE) if p)
        d = sampler.Denoiser(self.unet, self.adaptor, self.connectors, lq, self.context(positive),
                             self.context(tokenizer.NEGATIVE))
        rest = {k: v for k, v in settings.items() if k != "n"}
        sigma = schedule.SCHEDULES[SAMPLING["schedule"]](settings["n"])
        z = sampler.restoration_edm(d, center, sigma, torch.Generator().manual_seed(seed), **rest)
        y = self.vae.decode(z)
        return sampler.wavelet_fix(y, first, SAMPLING["color_fix_levels"]) if fix else y


def load_metrics(path):
    spec = importlib.util.spec_from_file_location("metrics", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.all_metrics


def main(argv=None):
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("--run", type=Path, required=True)
    ap.add_argument("--degraded", type=Path, required=True)
    ap.add_argument("--metrics", type=Path, required=True)
    ap.add_argument("--presets", nargs="+", default=["stage1", "fidelity"])
    ap.add_argument("--recipes", nargs="+")
    ap.add_argument("--photos", nargs="+", help="stems (default: all)")
    ap.add_argument("--set", nargs="*", default=[], help="settings over the preset's, as name=json")
    ap.add_argument("--tag", default="", help="suffix of the output's folder")
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--no-fix", action="store_true", help="leave the colour fix out")
    ap.add_argument("--vae", help="another finished autoencoder")
    ap.add_argument("--robust", help="another degradation-robust encoder")
    a = ap.parse_args(argv)
    torch.set_num_threads(a.threads)
    score, model = load_metrics(a.metrics), Model(a.run, a.vae, a.robust)
    recipes = a.recipes or sorted(d.name for d in a.degraded.iterdir() if d.is_dir() and d.name != "gt")
    table = {}
    for recipe in recipes:
        for gt_path in sorted((a.degraded / "gt").glob("*.png")):
            if a.photos and gt_path.stem not in a.photos:
                continue
            gt = np.asarray(Image.open(gt_path))
            small = Image.open(a.degraded / recipe / gt_path.name)
            big = np.asarray(small.resize(gt.shape[1::-1], Image.BICUBIC))
            table.setdefault((recipe, "bicubic"), []).append(score(gt, big))
            for preset in a.presets:
                settings = PRESETS[preset] and PRESETS[preset] | {k: json.loads(v) for k, v in (s.split("=") for s in a.set)}
                t = time.time()
                y = common.to_u8(model.restore(common.to_tensor(big), settings, fix=not a.no_fix))[0]
                table.setdefault((recipe, preset), []).append(score(gt, y) | {"seconds": time.time() - t})
                out = a.run / "eval" / (preset + a.tag) / recipe / gt_path.name
                out.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(y).save(out)
        for (r, preset), rows in table.items():
            if r == recipe:
                mean = {k: float(np.mean([row[k] for row in rows])) for k in rows[0]}
                print(f"{recipe:26s} {preset + a.tag:12s} " + " ".join(f"{k} {v:.4f}" for k, v in mean.items()), flush=True)
    means = {f"{r}/{p}": {k: float(np.mean([row[k] for row in rows])) for k in rows[0]} for (r, p), rows in table.items()}
    (a.run / "eval").mkdir(exist_ok=True)
    (a.run / "eval" / f"table{a.tag}.json").write_text(json.dumps(means, indent=1))


if __name__ == "__main__":
    main()
