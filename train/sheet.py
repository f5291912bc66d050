"""Small pictures of a run: training curves, and restored crops side by side.

    python -m train.sheet --run RUN --degraded DEGRADED --out train/results
"""
import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

CURVES = (("vae", "photos"), ("decoder", "photos"), ("robust", "noise40"), ("robust", "sr4"), ("prior", "loss"),
          ("adaptor", "loss"))


def curve(rows, key, w=300, h=170):
    """A line of one logged number over minutes, its last value in the title."""
    im = Image.new("RGB", (w, h), "white")
    d, font = ImageDraw.Draw(im), ImageFont.load_default(11)
    points = [(r["min"], r[key]) for r in rows if key in r]
    if len(points) > 1:
        (x, y) = np.array(points).T
        y0, y1 = float(y.min()), float(y.max()) + 1e-9
        px = 40 + (x - x[0]) / (x[-1] - x[0] + 1e-9) * (w - 50)
        py = h - 24 - (y - y0) / (y1 - y0) * (h - 54)
        d.line(list(zip(px.tolist(), py.tolist())), fill=(30, 90, 160), width=2)
        for v, at in ((y0, h - 30), (y1, 24)):
            d.text((2, at), f"{v:.3g}", fill="black", font=font)
        d.text((w - 60, h - 16), f"{x[-1]:.0f} min", fill="black", font=font)
        return im, points[-1][1]
    return im, float("nan")


def curves(run):
    tiles = []
    for stage, key in CURVES:
        path = run / "logs" / f"{stage}.jsonl"
        if path.exists():
            im, last = curve([json.loads(line) for line in path.read_text().splitlines()], key)
            ImageDraw.Draw(im).text((40, 4), f"{stage}: {key} {last:.4g}", fill="black", font=ImageFont.load_default(12))
            tiles.append(np.asarray(im))
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % 3)
    return Image.fromarray(np.vstack([np.hstack(tiles[i:i + 3]) for i in range(0, len(tiles), 3)]))


def crops(run, degraded, kinds, recipes, names, side=192):
    """Rows: recipe and photograph; columns: bicubic, the presets, the truth."""
    rows = []
    for recipe in recipes:
        for name in names:
            gt = Image.open(degraded / "gt" / f"{name}.png")
            pictures = [Image.open(degraded / recipe / f"{name}.png").resize(gt.size, Image.BICUBIC)]
            pictures += [Image.open(run / "eval" / k / recipe / f"{name}.png") for k in kinds] + [gt]
            x, y = (gt.width - side) // 2, (gt.height - side) // 3
            rows.append(np.hstack([np.asarray(p.crop((x, y, x + side, y + side))) for p in pictures]))
    head = Image.new("RGB", (rows[0].shape[1], 18), "white")
    for i, label in enumerate(["bicubic", *kinds, "truth"]):
        ImageDraw.Draw(head).text((i * side + 4, 2), label, fill="black", font=ImageFont.load_default(12))
    return Image.fromarray(np.vstack([np.asarray(head), *rows]))


def main(argv=None):
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("--run", type=Path, required=True)
    ap.add_argument("--degraded", type=Path, required=True)
    ap.add_argument("--out", type=Path, required=True)
    ap.add_argument("--kinds", nargs="+", default=["stage1", "fidelity"])
    ap.add_argument("--recipes", nargs="+", default=["sr4", "sr4_noise40", "blur2_sr4_noise20_jpeg50"])
    ap.add_argument("--photos", nargs="+", default=["kitten", "astronaut"])
    ap.add_argument("--side", type=int, default=192)
    a = ap.parse_args(argv)
    a.out.mkdir(parents=True, exist_ok=True)
    curves(a.run).save(a.out / "curves.png", optimize=True)
    crops(a.run, a.degraded, a.kinds, a.recipes, a.photos, a.side).save(a.out / "sheet.jpg", quality=88)


if __name__ == "__main__":
    main()
