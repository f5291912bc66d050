"""What the degradation-robust encoder learns by."""
import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from train import common, robust

VECTORS = Path(__file__).parents[1] / "internal" / "metrics" / "testdata"


def test_haarpsi_is_the_metrics():
    make = runpy.run_path(str(VECTORS / "make.py"))
    one = next(v for v in json.loads((VECTORS / "vectors.json").read_text()) if v["kind"] == "blurred")
    truth = make["truth"](one["w"], one["h"])
    t, p = (common.to_tensor(v.astype(np.uint8)) for v in (truth, make["box"](make["box"](truth))))
    assert float(robust.haarpsi(p, t)) == pytest.approx(one["scores"]["HaarPSI"], abs=2e-3)
    assert float(robust.haarpsi(t, t)) > 0.999


def test_grid_sees_what_repeats_with_every_latent():
    noise = 0.1 * torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    x = torch.arange(128.0)
    weave = lambda period: noise + 0.1 * torch.cos(2 * torch.pi * x / period)
    quiet = 0.01 / 64 * 15 / 16  # of noise so much stays in the mean over 8 x 8 cells
    assert robust.grid(noise, 4) == pytest.approx([quiet, quiet], rel=0.2)
    assert robust.grid(weave(4), 4) == pytest.approx([0.005 + quiet] * 2, rel=0.2)
    assert robust.grid(weave(4.6), 4).max() < 0.1 * robust.grid(weave(4), 4).min()


def test_blotches_see_what_is_coarse():
    noise = 0.1 * torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    left = 0.01 * (1 / 64 + 1 / 256 + 1 / 1024) / 3
    assert robust.blotches(noise) == pytest.approx([left, left], rel=0.2)
    assert robust.blotches(noise + 0.1) == pytest.approx([0.01 + left] * 2, rel=0.1)


def test_crops_grow_to_whole_scenes():
    assert robust.crop_size(0.1, 16, True, 320, odd=True) == (64, 32)
    assert robust.crop_size(0.3, 16, False, 320, odd=True) == (96, 16)
    assert robust.crop_size(0.7, 16, False, 320, odd=True) == (160, 5)
    assert {robust.crop_size(1, 16, False, 320, odd) for odd in (0, 1)} == {(160, 5), (320, 2)}


def test_what_is_far_is_smooth_and_what_is_near_untouched():
    far = np.random.default_rng(1).integers(0, 200, (160, 160, 3), np.uint8)
    near = np.full_like(far, 255)
    shares = []
    for seed in range(40):
        x = robust.unfocused(np.random.default_rng(seed), far, near).astype(int)
        behind = x[..., 0] < 255
        steps = np.abs(np.diff(x[..., 0], axis=1))[behind[:, 1:] & behind[:, :-1]]
        assert steps.size == 0 or steps.mean() < 0.3 * np.abs(np.diff(far[..., 0].astype(int), axis=1)).mean()
        assert (x[~behind] == 255).all()
        shares.append(behind.mean())
    assert min(shares) < 0.4 and max(shares) > 0.9
