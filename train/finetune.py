"""Fine-tunes the adaptor on a folder of photographs, from this project's model or from files in the public layout.

    python -m train.finetune --photos DIR --run RUN --minutes 30
    python -m train.finetune --photos DIR --run RUN --from SDXL.safetensors SUPIR.safetensors --device cuda --bf16

NAME.txt beside NAME.jpg is its caption. The photographs should be sharp and clean: they are the truth, and are
degraded on the fly as in all training here. U-Net, autoencoder and text encoders stay; what is trained is the adaptor
and its connectors, or these alone (--connectors-only: of a full-size model half the memory). At the end, and at every save,
RUN/export/supir.safetensors has the SUPIR file with them in place:

    supir restore old.jpg --sdxl SDXL.safetensors --supir RUN/export/supir.safetensors

Where a single .gguf holds both (embedded/model.gguf, where --from is not given), it is what --sdxl names. A killed
run goes on when the command is given again.
"""
import argparse
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from safetensors.torch import save_file

from . import common, degrade, latents, prompts, public, schedule

EXTENSIONS = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp", ".gif"}
EMBEDDED = Path(__file__).parents[1] / "embedded" / "model.gguf"
KEEP = 2 << 30  # bytes of decoded pictures kept in memory; the rest is decoded anew


def read(path):
    """uint8 (H, W, 3), upright."""
    with Image.open(path) as im:
        return np.asarray(ImageOps.exif_transpose(im).convert("RGB"))


class Photographs:
    """A folder's pictures that can be read and hold a crop of `size`; `skipped` are (name, reason) of the others."""

    def __init__(self, folder, size):
        folder = Path(folder)
        if not folder.is_dir():
            raise public.FileError(f"--photos {folder}: no such folder")
        self.paths, self.captions, self.kept, self.skipped, used = [], [], {}, [], 0
        for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in EXTENSIONS and not p.name.startswith(".")):
            try:
                x = read(path)
                if min(x.shape[:2]) < size:
                    raise ValueError(f"{x.shape[1]}x{x.shape[0]} is smaller than the crops of {size}")
                text = path.with_suffix(".txt")
                caption = " ".join(text.read_text(encoding="utf-8").split()) if text.is_file() else ""
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as e:
                self.skipped.append((path.name, str(e)))
                continue
            if used + x.nbytes <= KEEP:
                self.kept[len(self.paths)] = x
                used += x.nbytes
            self.paths.append(path)
            self.captions.append(caption)
        if not self.paths:
            why = "".join(f"\n  {name}: {reason}" for name, reason in self.skipped)
            raise public.FileError(f"--photos {folder}: no picture in it can be used{why}")

    def crop(self, rng, size):
        """uint8 (size, size, 3) and its caption; large pictures are made smaller at random, so that crops see more."""
        i = rng.integers(len(self.paths))
        x = self.kept[i] if i in self.kept else read(self.paths[i])
        shrink = min(x.shape[:2]) / size
        if shrink > 1.5 and rng.random() < 0.5:
            s = min(shrink, rng.uniform(1, 3))
            x = np.asarray(Image.fromarray(x).resize((int(x.shape[1] / s), int(x.shape[0] / s)), Image.BICUBIC))
        top, left = (rng.integers(n - size + 1) for n in x.shape[:2])
        x = x[top:top + size, left:left + size]
        return np.ascontiguousarray(x[:, ::-1] if rng.random() < 0.5 else x), self.captions[i]


def export(model, path):
    """The SUPIR file with the trained parts in place, each tensor in the type and shape that it had."""
    out = dict(model.tensors)
    for part in ("adaptor", "connectors"):
        for name, v in getattr(model, part).state_dict().items():
            old = out[public.PREFIX[part] + name]
            out[public.PREFIX[part] + name] = v.detach().cpu().reshape(old.shape).to(old.dtype).contiguous()
    path.parent.mkdir(parents=True, exist_ok=True)
    tmp = path.with_suffix(".tmp")
    save_file({k: v.contiguous() for k, v in out.items()}, tmp, metadata=model.metadata or None)
    tmp.chmod(0o644)  # safetensors makes files for their owner alone
    tmp.replace(path)


class Finetune(common.Stage):
    """Every save also exports."""

    def __init__(self, args, model, modules):
        self.model = model
        try:
            super().__init__(args, modules)
        except (RuntimeError, KeyError, ValueError, public.FileError) as e:
            raise public.FileError(f"{args.run / args.name}.pt is of another model than {model.supir}: "
                                   f"name another --run ({str(e).splitlines()[0]})") from e

    def save(self):
        super().save()
        self.average.swap()
        export(self.model, self.args.run / "export" / "supir.safetensors")
        self.average.swap()


def arguments(argv):
    ap = common.arguments("finetune", minutes=30, lr=1e-4, batch=8)
    ap.add_argument("--photos", type=Path, required=True, help="folder of photographs, with NAME.txt captions or without")
    ap.add_argument("--from", dest="files", nargs="+", type=Path, metavar="FILE", default=[EMBEDDED],
                    help="the model to start from: SDXL's and SUPIR's file, safetensors or gguf, or one .gguf with both "
                         "(default: the small one of this repository)")
    ap.add_argument("--crop", type=int, help="side of the training crops in pixels (default: 128, of large models 512)")
    ap.add_argument("--sharpen", action=argparse.BooleanOptionalAction, help="aim at photographs sharpened by what the autoencoder "
                    "softens (default: yes; with large models, whose autoencoders hardly do, no)")
    ap.add_argument("--connectors-only", action="store_true", help="leave the adaptor as it is")
    ap.add_argument("--no-negatives", action="store_true", help="no spoiled pictures with negative words")
    a = ap.parse_args(argv)
    if len(a.files) > 2:
        ap.error("--from takes one file or two")
    return a


def run(argv):
    a = arguments(argv)
    model = public.Model(*a.files)
    step_of = 2 * model.factor()
    large = model.unet.config["channels"] >= 128
    size = a.crop or (512 if large else 128)
    sharpen = not large if a.sharpen is None else a.sharpen
    if size <= 0 or size % step_of:
        raise public.FileError(f"--crop {size}: must be a multiple of {step_of} for this model")
    photographs = Photographs(a.photos, size)
    for name, reason in photographs.skipped:
        print(f"skipped {name}: {reason}", file=sys.stderr)
    captioned = sum(bool(c) for c in photographs.captions)
    print(f"{len(photographs.paths)} photographs, {captioned} with captions, {len(photographs.skipped)} skipped", flush=True)

    trained = {"connectors": model.connectors} if a.connectors_only else {"adaptor": model.adaptor, "connectors": model.connectors}
    for m in (model.vae, model.encoder, model.text, model.unet, model.adaptor, model.connectors):
        m.to(a.device)
    for m in trained.values():
        m.requires_grad_(True).train()
    numbers = [sum(p.numel() for m in ms for p in m.parameters()) for ms in
               (trained.values(), (model.vae, model.encoder, model.text, model.unet, model.adaptor, model.connectors))]
    print(f"training {numbers[0] / 1e6:.1f} of {numbers[1] / 1e6:.1f} million weights: "
          f"about {(4 * numbers[1] + 16 * numbers[0]) / 1e6:.0f} MB and activations", flush=True)

    def sample(rng, count):
        """Noised latents, low-quality ones, indices, the noise, texts."""
        gt, lq, ps = [], [], []
        goods = rng.random(count) >= (0 if a.no_negatives else prompts.BAD)
        for good in goods:
            x, caption = photographs.crop(rng, size)
            lq.append(degrade.degrade(rng, x))
            gt.append(x if good else degrade.spoil(rng, x))
            ps.append(prompts.prompt(rng, caption, good))
        gt = np.stack(gt)
        if sharpen and goods.any():
            gt[goods] = latents.aim(model.vae, gt[goods])
        with torch.no_grad():
            z = model.vae.encode(common.to_tensor(gt).to(a.device))
            l = model.vae.encode(common.to_tensor(np.stack(lq)).to(a.device), model.encoder)
            context = model.context(ps, a.device)
        t = torch.from_numpy(rng.integers(0, 1000, count))
        eps = torch.from_numpy(rng.standard_normal(z.shape).astype(np.float32)).to(a.device)
        return schedule.noised(z, eps, t), l, t.to(a.device), eps, context

    def loss(x, l, t, eps, c):
        return F.mse_loss(model.unet(x, t, *c, model.connectors.bind(model.adaptor(x, l, t, *c))), eps)

    stage = Finetune(a, model, trained)
    fixed = [sample(np.random.default_rng(k), min(a.batch, 4)) for k in range(4)]  # the same in every run, for watching

    def step():
        error = loss(*sample(stage.rng, a.batch))
        return error, {"loss": error.detach()}

    def evaluate():
        return {"fixed": float(np.mean([float(loss(*s)) for s in fixed]))}

    with torch.no_grad():
        print(f"loss on fixed samples before: {evaluate()['fixed']:.5f}", flush=True)
    stage.run(step, evaluate)
    stage.save()
    out = a.run / "export" / "supir.safetensors"
    print(f"supir restore PICTURE --sdxl {a.files[0]} --supir {out}")


def main(argv=None):
    try:
        run(argv)
    except public.FileError as e:
        sys.exit(f"finetune: {e}")


if __name__ == "__main__":
    main()
