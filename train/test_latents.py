"""What the adaptor aims at."""
import numpy as np
import torch
import torch.nn.functional as F

from train import common, latents


class HalfSoft(torch.nn.Module):
    """An autoencoder that softens the left half."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def encode(self, x):
        soft = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
        return torch.cat([soft[..., :48], x[..., 48:]], 3)

    def decode(self, z):
        return z.clamp(-1, 1)


def test_the_aim_is_as_much_sharper_as_the_autoencoder_softens():
    rng, vae = np.random.default_rng(0), HalfSoft()
    x = np.clip(128 + 20 * rng.standard_normal((2, 24, 24, 1)).repeat(4, 1).repeat(4, 2) + np.zeros(3), 0, 255).astype(np.uint8)
    x[1] = 90  # flat: nothing to sharpen
    aim = latents.aim(vae, x)
    assert np.array_equal(aim[1], x[1])
    assert np.abs(aim[0, :, 56:].astype(int) - x[0, :, 56:]).max() <= 1, "what is not softened stays"
    plain, aimed = (vae.decode(vae.encode(common.to_tensor(v))) for v in (x, aim))
    energy = lambda y: latents.strength(y[:1, :, :, :40]).square().mean()
    true = energy(common.to_tensor(x))
    assert energy(plain) < 0.4 * true and 0.65 * true < energy(aimed) < 1.15 * true
