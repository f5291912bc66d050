"""Makes the textures that `supir-lab fig1b` asks for by name: grey, with seeds that no training has seen.

    python cmd/supir-lab/textures/make.py
"""
import sys
from pathlib import Path

import numpy as np
from PIL import Image

here = Path(__file__).resolve().parent
sys.path.insert(0, str(here.parents[2]))
from train.textures import TEXTURES  # noqa: E402

for name in ("bricks", "fabric", "fur", "grass", "pebbles", "stripes", "water", "wood"):
    t = TEXTURES[name](np.random.default_rng(20240613), 256)
    u8 = np.clip(np.rint(128 + 48 * t / t.std()), 0, 255).astype(np.uint8)
    Image.fromarray(u8).save(here / f"{name}.jpg", quality=88)
