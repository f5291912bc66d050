"""The restoration-guided EDM sampler (Algorithm 1 of the paper), CFG fusion and the wavelet colour fix."""
import torch
import torch.nn.functional as F

from .schedule import SIGMA_MAX, SIGMAS, snap


class Denoiser:
    """D(x, sigma): the U-Net with the adaptor, positive and negative prompt in one batch, fused by `cfg`."""

    def __init__(self, unet, adaptor, connectors, lq, positive, negative):
        self.unet, self.adaptor, self.connectors = unet, adaptor, connectors
        self.lq = lq
        self.positive, self.negative = positive, negative

    def __call__(self, x, sigma, cfg, w):
        t = snap(sigma)
        s = float(SIGMAS[t])
        both = cfg != 1
        n = 2 if both else 1
        context = tuple(torch.cat([a, b]) if both else b for a, b in zip(self.negative, self.positive))
        y = (x / (s * s + 1) ** 0.5).repeat(n, 1, 1, 1)
        index = torch.full((n,), t, device=x.device)
        features = self.adaptor(y, self.lq.repeat(n, 1, 1, 1), index, *context)
        eps = self.unet(y, index, *context, self.connectors.bind(features, w))
        d = x - s * eps
        return d[:1] + cfg * (d[1:] - d[:1]) if both else d


def linear(sigma, start, end):
    """`start` at sigma_max, `end` at 0."""
    return (start - end) * sigma / SIGMA_MAX + end


def restoration_edm(denoise, center, sigma, noise, cfg=(1.0, 1.0), control=(1.0, 1.0), tau=4.0, s_churn=5.0, s_noise=1.01,
                    restore_min=0.05):
    """center (1, z, h, w): the re-encoded stage-1 picture; sigma: falling, 0 at the end; tau <= 0 turns the guidance off."""
    n = len(sigma) - 1
    x = torch.randn(center.shape, generator=noise) * (1 + sigma[0] ** 2) ** 0.5
    for s, s_next in zip(sigma[:-1], sigma[1:]):
        gamma = min(s_churn / n, 2 ** 0.5 - 1)
        s_hat = s * (1 + gamma)
        if gamma > 0:
            x = x + s_noise * torch.randn(x.shape, generator=noise) * (s_hat ** 2 - s ** 2) ** 0.5
        d = denoise(x, s_hat, linear(s_hat, *cfg), linear(s_hat, *control))
        if s_next > restore_min and tau > 0:
            d = d - (d - center) * (s / SIGMA_MAX) ** tau
        x = x + (s_next - s_hat) * (x - d) / s_hat
    return x


def wavelet_low(x, levels=5):
    """Five dilated [1, 2, 1] blurs: the low frequencies of (N, 3, H, W)."""
    k = torch.tensor([1.0, 2, 1])
    k = ((k[:, None] * k) / 16).expand(3, 1, 3, 3).to(x)
    for i in range(levels):
        r = 2 ** i
        x = F.conv2d(F.pad(x, (r,) * 4, mode="replicate"), k, groups=3, dilation=r)
    return x


def wavelet_fix(x, reference, levels=5):
    """Detail of x on the low frequencies of the reference."""
    return x - wavelet_low(x, levels) + wavelet_low(reference, levels)
