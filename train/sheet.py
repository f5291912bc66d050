"""Pictures of a run: training curves, and restored scenes and photographs side by side.

    python -m train.sheet --run RUN --out train/results
    python -m train.sheet --run RUN --out train/results --degraded DEGRADED    # what train.evaluate has restored

curves.png from RUN/logs; samples.jpg from scenes that no stage has trained on, as far as the run's checkpoints go:
truth, low quality, autoencoder, stage 1, restored. sheet.jpg, with --degraded, from photographs.
"""
import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# What to draw of a stage's log; of any other its loss.
KEYS = {"vae": ("scenes", "photos"), "decoder": ("photos", "psnr"), "robust": ("noise40", "sr4", "psnr"),
        "prior": ("loss", "t300"), "adaptor": ("loss", "t300")}
HELD = 4  # scenes in samples.jpg; the stages hold out more
SIDE = 192


def label(image, at, text, size=12):
    ImageDraw.Draw(image).text(at, text, fill="black", font=ImageFont.load_default(size))


def curve(points, title, w=300, h=170):
    """A line through (minutes, value) pairs, the last value in the title."""
    im = Image.new("RGB", (w, h), "white")
    (x, y) = np.array(points, float).T
    y0, y1 = float(y.min()), float(y.max()) + 1e-9
    px = 40 + (x - x[0]) / (x[-1] - x[0] + 1e-9) * (w - 50)
    py = h - 24 - (y - y0) / (y1 - y0) * (h - 54)
    ImageDraw.Draw(im).line(list(zip(px.tolist(), py.tolist())), fill=(30, 90, 160), width=2)
    for v, at in ((y0, h - 30), (y1, 24)):
        label(im, (2, at), f"{v:.3g}", 11)
    label(im, (w - 60, h - 16), f"{x[-1]:.0f} min", 11)
    label(im, (40, 4), f"{title} {points[-1][1]:.4g}")
    return im


def rows_of(path):
    """The rows of a log; a last one that a kill has torn is left out."""
    rows = []
    for line in path.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def curves(run):
    """One picture of all logs, or None where there are none of two rows."""
    tiles = []
    for path in sorted((run / "logs").glob("*.jsonl")):
        rows = rows_of(path)
        for key in KEYS.get(path.stem, KEYS.get(path.stem.split("_")[0], ("loss",))):
            points = [(r["min"], r[key]) for r in rows if np.isfinite(r.get(key, np.nan))]
            if len(points) > 1:
                tiles.append(np.asarray(curve(points, f"{path.stem}: {key}")))
    if not tiles:
        return None
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % 3)
    return Image.fromarray(np.vstack([np.hstack(tiles[i:i + 3]) for i in range(0, len(tiles), 3)]))


def tiled(columns, rows, side):
    """Rows of uint8 crops under the names of their columns."""
    head = Image.new("RGB", (len(columns) * side, 18), "white")
    for i, name in enumerate(columns):
        label(head, (i * side + 4, 2), name)
    return Image.fromarray(np.vstack([np.asarray(head), *[np.hstack(row) for row in rows]]))


def samples(run, side=SIDE):
    """The first scenes, which every stage holds out, through what the run has so far; None without an autoencoder."""
    from . import common, degrade, evaluate, scenes
    if not (run / "vae_final.pt").exists():
        return None
    pictures, captions = scenes.load(run / "scenes")
    side = min(side, pictures.shape[1] // 64 * 64)
    model = evaluate.Model(run)
    columns, rows = [], []
    for i in range(min(HELD, len(pictures))):
        gt = pictures[i][:side, :side]
        lq = degrade.degrade(np.random.default_rng((5, i)), gt)
        x, y = common.to_tensor(lq), common.to_tensor(gt)
        row = {"truth": gt, "low quality": lq, "autoencoder": common.to_u8(model.vae.decode(model.vae.encode(y)))[0]}
        if model.encoder is not None:
            row["stage 1"] = common.to_u8(model.restore(x, None))[0]
        if model.unet is not None:
            row["restored"] = common.to_u8(model.restore(x, evaluate.PRESETS["fidelity"], captions[i]))[0]
        columns = list(row)
        rows.append(list(row.values()))
    return tiled(columns, rows, side)


def photographs(run, degraded, kinds, recipes, names, side):
    """Rows: recipe and photograph; columns: bicubic, the presets, the truth."""
    rows = []
    for recipe in recipes:
        for name in names:
            gt = Image.open(degraded / "gt" / f"{name}.png")
            pictures = [Image.open(degraded / recipe / f"{name}.png").resize(gt.size, Image.BICUBIC)]
            pictures += [Image.open(run / "eval" / k / recipe / f"{name}.png") for k in kinds] + [gt]
            x, y = (gt.width - side) // 2, (gt.height - side) // 3
            rows.append([np.asarray(p.crop((x, y, x + side, y + side))) for p in pictures])
    return tiled(["bicubic", *kinds, "truth"], rows, side)


def main(argv=None):
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("--run", type=Path, required=True)
    ap.add_argument("--out", type=Path, required=True)
    ap.add_argument("--degraded", type=Path, help="degraded photographs that train.evaluate has restored")
    ap.add_argument("--kinds", nargs="+", default=["stage1", "fidelity"])
    ap.add_argument("--recipes", nargs="+", default=["sr4", "sr4_noise40", "blur2_sr4_noise20_jpeg50"])
    ap.add_argument("--photos", nargs="+", default=["kitten", "astronaut"])
    ap.add_argument("--side", type=int, default=SIDE)
    a = ap.parse_args(argv)
    if not a.run.is_dir():
        ap.error(f"--run {a.run}: no such folder")
    a.out.mkdir(parents=True, exist_ok=True)
    made = {"curves.png": curves(a.run), "samples.jpg": samples(a.run, a.side)}
    if a.degraded:
        made["sheet.jpg"] = photographs(a.run, a.degraded, a.kinds, a.recipes, a.photos, a.side)
    for name, image in made.items():
        if image is None:
            print(f"{name}: nothing to show yet")
            continue
        image.save(a.out / name, **({"quality": 88} if name.endswith("jpg") else {"optimize": True}))


if __name__ == "__main__":
    main()
