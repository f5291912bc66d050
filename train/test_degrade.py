"""Degradations: determinism, size, and that each kind runs."""
import numpy as np
import pytest

from train import common, degrade, latents, scenes
from train.scenes import Painter, describe


@pytest.fixture(scope="module")
def scene():
    return Painter(0, bank=1, side=96).scene(np.random.default_rng(1), 96)


def test_scene_is_captioned(scene):
    picture, caption = scene[0], describe(*scene)
    assert picture.shape == (96, 96, 3) and picture.dtype == np.uint8
    assert "photo of" in caption and "background" in caption


def test_a_view_out_of_focus_is_smooth_and_names_no_texture(monkeypatch):
    steps, textures = [], set()
    for soft in (0, 1):
        monkeypatch.setattr(scenes, "SOFT", soft)
        views = [scenes.Painter(0, bank=1, side=64).scene(np.random.default_rng(k), 64, close=True) for k in range(6)]
        steps.append(np.median([np.abs(np.diff(v[0].astype(float), axis=1)).mean() for v in views]))
        textures = {t.texture for v in views for t in v[2]}
    assert steps[1] < 0.5 * steps[0] and textures == {""}


@pytest.mark.parametrize("kind", list(degrade.KINDS))
def test_same_seed_same_picture(scene, kind):
    a, b = (degrade.degrade(np.random.default_rng(5), scene[0], kind) for _ in range(2))
    assert a.shape == scene[0].shape and np.array_equal(a, b)
    assert not np.array_equal(a, degrade.degrade(np.random.default_rng(6), scene[0], kind))


def test_spoil_keeps_size(scene):
    for seed in range(12):
        assert degrade.spoil(np.random.default_rng(seed), scene[0]).shape == scene[0].shape


def test_convolve_with_a_delta_is_the_identity(scene):
    k = np.zeros((7, 7))
    k[3, 3] = 1
    x = scene[0].astype(np.float32)
    assert np.allclose(degrade.convolve(x, k), x, atol=1e-3)


def test_sharpening_strengthens_edges_alone(scene):
    energy = lambda u8: latents.strength(common.to_tensor(u8)).square().mean()
    assert np.array_equal(degrade.sharpen(scene[0], 0), scene[0])
    assert 1.2 < energy(degrade.sharpen(scene[0], 0.6)) / energy(scene[0]) < 2
    ramp = np.repeat(np.arange(96, dtype=np.uint8)[:, None, None] * 2, 96, 1).repeat(3, 2)
    assert np.array_equal(degrade.sharpen(ramp, 0.6)[4:-4], ramp[4:-4])
