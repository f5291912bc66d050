"""Procedural grey textures, each with the word that captions call it by.

Every function takes a generator and a side length n and returns a float32 array (n, n),
roughly zero mean and within [-1, 1].
"""
import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter, gaussian_filter1d, map_coordinates


def normalise(x):
    """Zero mean, 99 % of the values within [-1, 1]."""
    x = x - x.mean()
    return np.clip(x / (np.quantile(np.abs(x), 0.99) + 1e-6), -1.3, 1.3).astype(np.float32)


def power_noise(rng, n, slope):
    """Gaussian noise with an f^-slope amplitude spectrum; natural pictures are near slope 1."""
    f = np.hypot(np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n)[None])
    f[0, 0] = 1
    spectrum = np.fft.rfft2(rng.standard_normal((n, n))) / f ** slope
    spectrum[0, 0] = 0
    return normalise(np.fft.irfft2(spectrum, (n, n)))


def grid(n):
    y, x = np.mgrid[:n, :n].astype(np.float32)
    return y, x


def rotated(rng, n):
    """Coordinates (u, v) in pixels, turned by a random angle."""
    y, x = grid(n)
    a = rng.uniform(0, np.pi)
    return np.cos(a) * x + np.sin(a) * y, -np.sin(a) * x + np.cos(a) * y


def clouds(rng, n):
    return power_noise(rng, n, rng.uniform(1.4, 2.0))


def stone(rng, n):
    return power_noise(rng, n, rng.uniform(0.7, 1.2))


def sand(rng, n):
    return normalise(gaussian_filter(rng.standard_normal((n, n)), rng.uniform(0.4, 1.2), mode="wrap"))


def wood(rng, n):
    u, v = rotated(rng, n)
    warp = power_noise(rng, n, 1.8)
    rings = np.sin((u + 14 * warp + 0.02 * v) * rng.uniform(0.15, 0.7))
    grain = gaussian_filter1d(rng.standard_normal((n, n)), 9, axis=int(rng.integers(2)), mode="wrap")
    return normalise(rings + 1.5 * normalise(grain) * rng.uniform(0.2, 0.8))


def fabric(rng, n):
    y, x = rotated(rng, n)
    p = rng.uniform(2.5, 9)
    a, b = np.sin(2 * np.pi * x / p), np.sin(2 * np.pi * y / p)
    weave = np.where(np.sin(np.pi * x / p) * np.sin(np.pi * y / p) > 0, a, b)
    return normalise(weave + 0.5 * power_noise(rng, n, 0.8) + 0.3 * rng.standard_normal((n, n)))


def bricks(rng, n):
    y, x = grid(n)
    h = rng.uniform(8, 30)
    w = h * rng.uniform(1.6, 3)
    row = np.floor(y / h)
    col = np.floor(x / w + 0.5 * (row % 2))
    tone = rng.uniform(-1, 1, 997)[((row * 37 + col * 101) % 997).astype(int)]
    fy, fx = y / h - row, x / w + 0.5 * (row % 2) - col
    m = rng.uniform(0.05, 0.15)
    mortar = (fy < m) | (fx < m * h / w)
    face = 0.5 * tone + 0.4 * power_noise(rng, n, 0.9)
    return normalise(gaussian_filter(np.where(mortar, rng.choice([-1.5, 1.5]), face), 0.6))


def strokes(rng, n, length, width, spread, count):
    """Many short bent lines in about one direction, later ones over earlier ones."""
    im = Image.new("L", (n, n), 60)
    d = ImageDraw.Draw(im)
    main = rng.uniform(0, 2 * np.pi)
    field = power_noise(rng, 64, 1.8)
    for _ in range(count):
        x, y = rng.uniform(-8, n + 8, 2)
        a = main + spread * field[int(y) * 63 // (n + 8) % 64, int(x) * 63 // (n + 8) % 64] + rng.normal(0, 0.15)
        ln = length * rng.uniform(0.5, 1.5)
        bend = rng.normal(0, 0.25)
        mid = (x + ln / 2 * np.cos(a), y + ln / 2 * np.sin(a))
        end = (mid[0] + ln / 2 * np.cos(a + bend), mid[1] + ln / 2 * np.sin(a + bend))
        d.line([(x, y), mid, end], fill=int(rng.uniform(0, 255)), width=width)
    return normalise(gaussian_filter(np.asarray(im, np.float32), 0.5))


def grass(rng, n):
    return strokes(rng, n, rng.uniform(14, 40), int(rng.integers(1, 3)), 0.6, n * n // 60)


def fur(rng, n):
    return strokes(rng, n, rng.uniform(10, 30), 1, rng.uniform(0.8, 1.8), n * n // 25)


def hair(rng, n):
    u, v = rotated(rng, n)
    w = 20 * power_noise(rng, n, 2.0)
    line = gaussian_filter1d(rng.standard_normal(4096), rng.uniform(0.6, 1.5))
    return normalise(np.interp((v + w) * 1.0 + 2048, np.arange(4096), line))


def worley(rng, n):
    """Distances to the nearest and second nearest of random points."""
    k = int(rng.integers(60, 900))
    pts = rng.uniform(0, n, (k, 2))
    from scipy.spatial import cKDTree
    y, x = grid(n)
    d, i = cKDTree(pts).query(np.stack([y.ravel(), x.ravel()], 1), k=2)
    return d.reshape(n, n, 2), i[:, 0].reshape(n, n), k


def pebbles(rng, n):
    d, i, k = worley(rng, n)
    edge = np.clip((d[..., 1] - d[..., 0]) / 4, 0, 1)
    tone = rng.uniform(-0.6, 0.8, k)[i]
    return normalise(edge * (1 + tone) - 0.3 * d[..., 0] / d[..., 0].max() + 0.15 * power_noise(rng, n, 0.8))


def scales(rng, n):
    d, _, _ = worley(rng, n)
    return normalise(gaussian_filter(d[..., 0], 0.5))


def leaves(rng, n):
    """Small leaves lying over each other."""
    im = Image.new("L", (n, n), 20)
    dr = ImageDraw.Draw(im)
    size = rng.uniform(5, 18)
    for _ in range(int(2.2 * n * n / size ** 2)):
        x, y = rng.uniform(0, n, 2)
        a, s = rng.uniform(0, 2 * np.pi), size * rng.uniform(0.5, 1.4)
        c, q = np.cos(a) * s, np.sin(a) * s
        tone = int(rng.uniform(30, 255))
        dr.polygon([(x - c, y - q), (x + q * .4, y - c * .4), (x + c, y + q), (x - q * .4, y + c * .4)], fill=tone)
        dr.line([(x - c, y - q), (x + c, y + q)], fill=tone * 2 // 3)
    return normalise(gaussian_filter(np.asarray(im, np.float32), 0.5))


def stripes(rng, n):
    u, _ = rotated(rng, n)
    p = rng.uniform(4, 30)
    duty = rng.uniform(-0.6, 0.6)
    return normalise(np.clip(4 * (np.sin(2 * np.pi * u / p) - duty), -1, 1))


def checks(rng, n):
    u, v = rotated(rng, n)
    p = rng.uniform(6, 30)
    return normalise(np.clip(5 * np.sin(np.pi * u / p) * np.sin(np.pi * v / p), -1, 1))


def dots(rng, n):
    u, v = rotated(rng, n)
    p = rng.uniform(6, 24)
    r = np.hypot((u / p) % 1 - 0.5, (v / p) % 1 - 0.5)
    return normalise(np.clip((rng.uniform(0.2, 0.42) - r) * p, -0.5, 0.5))


def water(rng, n):
    y, x = grid(n)
    w = power_noise(rng, n, 1.6)
    ripple = np.sin((y + 18 * w) * rng.uniform(0.15, 0.5) + 0.05 * x)
    return normalise(np.sign(ripple) * np.abs(ripple) ** rng.uniform(0.5, 1) + 0.6 * power_noise(rng, n, 1.2))


def metal(rng, n):
    u, v = rotated(rng, n)
    brushed = gaussian_filter1d(rng.standard_normal((n, n)), rng.uniform(6, 20), axis=int(rng.integers(2)), mode="wrap")
    return normalise(normalise(brushed) + np.sin(u / rng.uniform(20, 60)))


def windows(rng, n):
    """A facade or a skyline at night: lit and dark cells in a grid."""
    y, x = grid(n)
    h, w = rng.uniform(4, 16), rng.uniform(3, 14)
    row, col = np.floor(y / h), np.floor(x / w)
    lit = rng.uniform(-1, 1, 997)[((row * 31 + col * 57) % 997).astype(int)]
    fy, fx = y / h - row, x / w - col
    frame = (fy < 0.25) | (fx < 0.25)
    return normalise(np.where(frame, -0.8, lit) + 0.1 * rng.standard_normal((n, n)))


def marble(rng, n):
    w = power_noise(rng, n, 1.5)
    u, _ = rotated(rng, n)
    return normalise(1 - np.abs(np.sin(u * rng.uniform(0.01, 0.04) + 3 * w)) ** 0.4 + 0.2 * power_noise(rng, n, 1))


def bark(rng, n):
    base = power_noise(rng, n, 1.0)
    y, x = grid(n)
    s = rng.uniform(3, 6)
    long = map_coordinates(base, [y / s, x], order=1, mode="wrap")
    return normalise(np.abs(long) ** 0.7 * np.sign(long) + 0.4 * power_noise(rng, n, 0.7))


TEXTURES = {f.__name__: f for f in (
    clouds, stone, sand, wood, fabric, bricks, grass, fur, hair, pebbles, scales, leaves, stripes, checks, dots,
    water, metal, windows, marble, bark)}
