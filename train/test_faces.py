"""Faces of the scenes."""
import numpy as np

from train import faces, scenes

PAINTER = scenes.Painter(3, bank=1, side=96)


def texture(rng):
    return lambda name, h, w: PAINTER.texture(rng, h, w, name)[1]


def draw(seed, side=96):
    rng = np.random.default_rng(seed)
    return faces.Face(rng, side, texture(rng)).draw(np.full((side, side, 3), 0.4, np.float32))


def test_a_seed_fixes_a_face_and_no_two_are_alike():
    colour, cover = draw(1)
    assert colour.shape == (96, 96, 3) and cover.shape == (96, 96, 1)
    assert np.isfinite(colour).all() and 0 <= colour.min() and colour.max() <= 1 and 0 <= cover.min() and cover.max() <= 1
    assert cover[48, 48] == 1 and cover[1, 1] == 0, "the middle is the face's, the corner is not"
    assert np.array_equal(colour, draw(1)[0]) and np.abs(colour - draw(2)[0]).mean() > 0.01


def test_faces_are_of_every_size_and_may_reach_beyond_the_picture():
    for seed in range(12):
        rng = np.random.default_rng(seed)
        canvas, owners = np.full((80, 80, 3), 0.5, np.float32), np.zeros((80, 80), np.uint8)
        faces.place(rng, canvas, owners, 9, rng.uniform(1, 60), texture(rng), lambda side: np.zeros((side, side, 3), np.float32))
        moved = np.abs(canvas - 0.5).max(-1) > 0
        assert np.isfinite(canvas).all() and moved[owners == 9].mean() > 0.9 and set(np.unique(owners)) <= {0, 9}
        assert moved.any()


def test_a_scene_says_that_there_are_faces():
    told = [scenes.describe(*PAINTER.scene(np.random.default_rng(i), 64)) for i in range(40)]
    assert 4 < sum("face" in t for t in told) < 24
