"""Degradations for training: Real-ESRGAN's two-round chain, a plainer family, and a light one.

Everything is drawn from the generator that is passed in, so a seed fixes a degradation. Pictures are float32
(H, W, 3) in 0..255; `degrade` returns uint8 of the input's size, the low-quality picture enlarged again with
bicubic as in the paper's section 4.1.
"""
import io

import numpy as np
from PIL import Image
from scipy.special import j1

FILTERS = (Image.BOX, Image.BILINEAR, Image.BICUBIC)


def resize(x, h, w, filt=Image.BICUBIC):
    """Antialiased when shrinking; float32 per channel."""
    if x.shape[:2] == (h, w):
        return x
    return np.stack([np.asarray(Image.fromarray(np.ascontiguousarray(x[..., c], np.float32)).resize((w, h), filt))
                     for c in range(3)], -1)


def convolve(x, kernel):
    """Correlation with an odd kernel, borders reflected; by Fourier transform."""
    r = kernel.shape[0] // 2
    p = np.pad(x, ((r, r), (r, r), (0, 0)), mode="reflect")
    n = p.shape[:2]
    k = np.fft.rfft2(kernel, n)[..., None]
    y = np.fft.irfft2(np.fft.rfft2(p, axes=(0, 1)) * k, n, axes=(0, 1))
    return y[2 * r:, 2 * r:].astype(np.float32)


def gaussian_kernel(rng, size, sigma, kind):
    """Anisotropic Gaussian; 'general' has exponent beta, 'plateau' a flat top (Real-ESRGAN, section 3.2)."""
    r = size // 2
    y, x = np.mgrid[-r:r + 1, -r:r + 1].astype(np.float64)
    a = rng.uniform(0, np.pi)
    s1 = rng.uniform(*sigma)
    s2 = rng.uniform(*sigma) if rng.random() < 0.5 else s1
    u, v = (np.cos(a) * x + np.sin(a) * y) / s1, (-np.sin(a) * x + np.cos(a) * y) / s2
    q = u * u + v * v
    if kind == "general":
        k = np.exp(-0.5 * q ** rng.uniform(0.5, 4))
    elif kind == "plateau":
        k = 1 / (1 + q ** rng.uniform(1, 2))
    else:
        k = np.exp(-0.5 * q)
    return k / k.sum()


def sinc_kernel(rng, size):
    """Ideal low-pass of a random cut-off: the ringing of sharpened or compressed pictures."""
    w = rng.uniform(np.pi / 3, np.pi) if size < 13 else rng.uniform(np.pi / 5, np.pi)
    r = size // 2
    d = np.hypot(*np.mgrid[-r:r + 1, -r:r + 1].astype(np.float64))
    d[r, r] = 1
    k = w * j1(w * d) / (2 * np.pi * d)
    k[r, r] = w * w / (4 * np.pi)
    return k / k.sum()


def blur(rng, x, sigma):
    size = 2 * int(rng.integers(3, 11)) + 1
    if rng.random() < 0.1:
        return convolve(x, sinc_kernel(rng, size))
    return convolve(x, gaussian_kernel(rng, size, sigma, rng.choice(["plain", "general", "plateau"], p=[.7, .15, .15])))


def gaussian_noise(rng, x, sigma, grey=0.0):
    shape = x.shape[:2] + (1 if rng.random() < grey else 3,)
    return x + sigma * rng.standard_normal(shape, dtype=np.float32)


def poisson_noise(rng, x, scale, grey=0.4):
    """Shot noise; `scale` 1 is that of 256 photons at white."""
    y = np.clip(x, 0, 255)
    if rng.random() < grey:
        g = y @ np.array([0.299, 0.587, 0.114], np.float32)
        return x + scale * (rng.poisson(g) - g)[..., None].astype(np.float32)
    return x + scale * (rng.poisson(y) - y).astype(np.float32)


def jpeg(x, quality):
    buf = io.BytesIO()
    Image.fromarray(np.clip(np.rint(x), 0, 255).astype(np.uint8)).save(buf, "JPEG", quality=int(quality))
    return np.asarray(Image.open(buf).convert("RGB")).astype(np.float32)


def random_filter(rng):
    return FILTERS[rng.integers(3)]


def two_rounds(rng, x):
    """Real-ESRGAN's second-order chain down to a quarter of the size."""
    h, w = x.shape[:2]
    x = blur(rng, x, (0.2, 3)) if rng.random() < 0.85 else x
    s = rng.choice([rng.uniform(1, 1.5), rng.uniform(0.2, 1), 1], p=[0.2, 0.7, 0.1])
    x = resize(x, max(16, int(h * s)), max(16, int(w * s)), random_filter(rng))
    x = gaussian_noise(rng, x, rng.uniform(1, 30), 0.4) if rng.random() < 0.5 else poisson_noise(rng, x, rng.uniform(0.05, 3))
    x = jpeg(x, rng.uniform(30, 95))
    x = blur(rng, x, (0.2, 1.5)) if rng.random() < 0.8 else x
    s = rng.choice([rng.uniform(1, 1.2), rng.uniform(0.3, 1), 1], p=[0.3, 0.4, 0.3])
    x = resize(x, max(16, int(h * s / 4)), max(16, int(w * s / 4)), random_filter(rng))
    x = gaussian_noise(rng, x, rng.uniform(1, 25), 0.4) if rng.random() < 0.5 else poisson_noise(rng, x, rng.uniform(0.05, 2.5))
    last = lambda v: resize(convolve(v, sinc_kernel(rng, 9)) if rng.random() < 0.8 else v, h // 4, w // 4, random_filter(rng))
    if rng.random() < 0.5:
        return last(jpeg(x, rng.uniform(30, 95)))
    return jpeg(last(x), rng.uniform(30, 95))


def plain(rng, x):
    """Blur, bicubic down, strong noise, JPEG; each may be missing."""
    h, w = x.shape[:2]
    if rng.random() < 0.55:
        x = convolve(x, gaussian_kernel(rng, 17, (s := rng.uniform(0.3, 3), s), "plain"))
    f = rng.choice([2, 3, 4, 8, rng.uniform(1, 8)], p=[0.06, 0.06, 0.6, 0.2, 0.08])
    x = resize(x, round(h / f), round(w / f))
    if rng.random() < 0.65:
        x = gaussian_noise(rng, x, rng.uniform(2, 50 if f <= 4 else 20), 0.1)
    if rng.random() < 0.55:
        x = jpeg(x, rng.uniform(30, 90))
    return x


def light(rng, x):
    """Nearly good pictures: the F flavour."""
    h, w = x.shape[:2]
    f = rng.uniform(1, 2.5)
    x = blur(rng, x, (0.2, 1.2)) if rng.random() < 0.5 else x
    x = resize(x, round(h / f), round(w / f), random_filter(rng))
    x = gaussian_noise(rng, x, rng.uniform(0, 12), 0.4) if rng.random() < 0.7 else x
    return jpeg(x, rng.uniform(55, 95)) if rng.random() < 0.6 else x


KINDS = {"two_rounds": two_rounds, "plain": plain, "light": light}


def degrade(rng, u8, kind=None):
    """uint8 (H, W, 3) -> uint8 (H, W, 3): degraded, enlarged to the size it had."""
    kind = kind or rng.choice(list(KINDS), p=[0.2, 0.7, 0.1])
    x = KINDS[kind](rng, u8.astype(np.float32))
    x = np.clip(np.rint(x), 0, 255).astype(np.float32)
    return np.clip(np.rint(resize(x, *u8.shape[:2])), 0, 255).astype(np.uint8)


def sharpen(u8, amount):
    """uint8 (H, W, 3) -> the same with more of what a Gaussian of one pixel takes away; amount: a number, or (H, W, 1)."""
    x = u8.astype(np.float32)
    soft = convolve(x, gaussian_kernel(np.random.default_rng(0), 7, (1, 1), "plain"))  # round, so whatever is drawn
    return np.clip(np.rint(x + amount * (x - soft)), 0, 255).astype(np.uint8)


def spoil(rng, u8):
    """A picture the negative quality words are true of: uint8 (H, W, 3) -> uint8 (H, W, 3)."""
    kind = rng.choice(["blur", "noise", "jpeg", "painting", "poster", "chain"])
    x = u8.astype(np.float32)
    h, w = x.shape[:2]
    if kind == "blur":
        x = convolve(x, gaussian_kernel(rng, 21, (1.5, 4), "plain"))
    elif kind == "noise":
        x = gaussian_noise(rng, x, rng.uniform(10, 40), 0.4)
    elif kind == "jpeg":
        x = jpeg(x, rng.uniform(5, 30))
    elif kind == "painting":
        from PIL import ImageFilter
        x = np.asarray(Image.fromarray(u8).filter(ImageFilter.ModeFilter(int(rng.choice([5, 7, 9]))))).astype(np.float32)
    elif kind == "poster":
        n = rng.integers(3, 7)
        x = np.rint(convolve(x, gaussian_kernel(rng, 9, (1, 2), "plain")) / 255 * n) * (255 / n)
    else:
        return degrade(rng, u8)
    return np.clip(np.rint(x), 0, 255).astype(np.uint8)
