"""Writes scenes as pictures with their captions beside them, for `supir caption` and `supir-lab captions`.

    python -m train.unpack --scenes DIR --out PICTURES --count 100

PICTURES/scene-0007.png and scene-0007.txt.
"""
import argparse
from pathlib import Path

from PIL import Image

from . import scenes


def main(argv=None):
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("--scenes", type=Path, required=True)
    ap.add_argument("--out", type=Path, required=True)
    ap.add_argument("--count", type=int, default=100)
    a = ap.parse_args(argv)
    a.out.mkdir(parents=True, exist_ok=True)
    pictures, captions = scenes.load(a.scenes)
    for i, caption in enumerate(captions[:a.count]):
        Image.fromarray(pictures[i]).save(a.out / f"scene-{i:04}.png")
        (a.out / f"scene-{i:04}.txt").write_text(caption + "\n")


if __name__ == "__main__":
    main()
