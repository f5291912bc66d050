"""The noise schedule against the formulas of the page, and the sampler on a denoiser in closed form."""
import math

import pytest
import torch

from train import sampler, schedule


def test_sigmas():
    a, expect = 1.0, []
    for i in range(1000):
        r = math.sqrt(0.00085) + (math.sqrt(0.0120) - math.sqrt(0.00085)) * i / 999
        a *= 1 - r * r
        expect.append(math.sqrt((1 - a) / a))
    assert schedule.SIGMAS == pytest.approx(expect, rel=1e-9)
    assert schedule.SIGMAS[-1] == pytest.approx(14.614641, abs=1e-5)


def test_steps():
    s = schedule.steps(8)
    assert len(s) == 9 and s[0] == schedule.SIGMAS[999] and s[1] == schedule.SIGMAS[999 * 7 // 8] and s[-1] == 0
    k = schedule.karras(8)
    assert len(k) == 9 and k[0] == pytest.approx(s[0]) and k[7] == pytest.approx(schedule.SIGMAS[0]) and k[8] == 0
    assert (k[1:] < k[:-1]).all() and k[4] < s[4]


def test_noised_has_unit_variance():
    z, e = torch.randn(2, 4, 64, 64), torch.randn(2, 4, 64, 64)
    x = schedule.noised(z, e, torch.tensor([10, 990]))
    assert x.std().item() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("tau", [0.0, 4.0])
def test_sampler_reaches_what_the_denoiser_knows(tau):
    target = torch.randn(1, 8, 16, 16)
    z = sampler.restoration_edm(lambda x, s, cfg, w: target, torch.zeros_like(target), schedule.steps(10),
                                torch.Generator().manual_seed(0), tau=tau)
    assert torch.allclose(z, target, atol=1e-4)


def test_wavelet_fix_of_a_picture_with_itself():
    x = torch.rand(1, 3, 64, 64)
    assert torch.allclose(sampler.wavelet_fix(x, x), x, atol=1e-5)
