"""SDXL's noise schedule and the discrete denoiser's scaling (sampling.md, "Noise schedule")."""
import numpy as np
import torch

SIGMA_MAX = 14.6146


def sigmas():
    """float64 (1000,), rising: sqrt((1 - a) / a), a the cumulative product of 1 - beta."""
    beta = np.linspace(0.00085 ** 0.5, 0.0120 ** 0.5, 1000) ** 2
    a = np.cumprod(1 - beta)
    return np.sqrt((1 - a) / a)


SIGMAS = sigmas()


def steps(n):
    """The n + 1 sigmas of a sampler, falling, 0 at the end."""
    return np.append([SIGMAS[999 * (n - k) // n] for k in range(n)], 0.0)


def karras(n):
    """The same, evenly spaced in sigma^(1/7) down to the training grid's least (Karras et al. 2022, Eq. 5)."""
    return np.append(np.linspace(SIGMAS[-1] ** (1 / 7), SIGMAS[0] ** (1 / 7), n) ** 7, 0.0)


SCHEDULES = {"even": steps, "karras": karras}


def snap(sigma):
    """Index of the training grid's nearest sigma."""
    return int(np.abs(SIGMAS - sigma).argmin())


def sigma(t):
    """(N, 1, 1, 1) noise levels of indices t (N,)."""
    return torch.as_tensor(SIGMAS, dtype=torch.float32)[t.cpu()].view(-1, 1, 1, 1)


def noised(z, eps, t):
    """c_in * (z + sigma eps) for indices t (N,): the network's input."""
    s = sigma(t).to(z)
    return (z + s * eps) / torch.sqrt(s * s + 1)
