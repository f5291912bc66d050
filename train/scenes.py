"""Captioned "dead leaves" scenes: occluding shapes of power-law sizes, shaded, textured, and described.

    python -m train.scenes --out DIR --count 1600 --size 320 --workers 2
    python -m train.scenes --out DIR --count 1600 --size 128 --close --block 200

writes scenes.npy (uint8, count x size x size x 3), captions.json, and what captions are made from: owners.npy (uint8,
count x size x size: whose each pixel is) and things.json. A caption names what can be seen, not what was painted: a
thing that others hide, or a texture fainter than the grain, is left out. Scene i depends only on (seed, i), so a killed
run continues where it stopped.
"""
import argparse
import colorsys
import dataclasses
import json
import multiprocessing
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter, map_coordinates

from . import faces
from .textures import TEXTURES, power_noise

HUES = (("red", 0), ("orange", 28), ("yellow", 55), ("green", 115), ("cyan", 180), ("blue", 222), ("purple", 278),
        ("pink", 330), ("red", 360))
WORDS = "open sale stop cafe north 42 hotel art river light time news park road map 7 exit home 2024 sun".split()
LARGE = 0.22  # of the side: shapes above this are worth a mention
SOFT = 0.2  # of the close views are out of focus, with nothing to sharpen, as walls, skies and backgrounds of photographs are
FAINT = 0.015  # deviation of brightness below which a texture is not named
BACKGROUND, OTHERS = 0, 255  # owners of pixels beside the large things 1, 2, ...: the background, small things


def random_colour(rng, palette):
    """A colour in [0, 1]^3 near one of the scene's palette, or any."""
    if rng.random() < 0.85:
        h, s, v = palette[rng.integers(len(palette))]
        h, s, v = h + rng.normal(0, 0.03), s * rng.uniform(0.6, 1.25), v * rng.uniform(0.6, 1.4)
    else:
        h, s, v = rng.random(), rng.random(), rng.random()
    return np.array(colorsys.hsv_to_rgb(h % 1, np.clip(s, 0, 1), np.clip(v, 0.02, 1)), np.float32)


def random_palette(rng):
    """A few (hue, saturation, value): mostly muted, at times vivid, grey or dark."""
    kind = rng.choice(["muted", "vivid", "grey", "dark", "any"], p=[0.45, 0.2, 0.1, 0.1, 0.15])
    h0 = rng.random()
    out = []
    for _ in range(int(rng.integers(2, 6))):
        h = (h0 + rng.normal(0, 0.12)) % 1 if rng.random() < 0.6 else rng.random()
        s = {"muted": rng.beta(2, 4), "vivid": rng.beta(5, 2), "grey": rng.uniform(0, 0.06), "dark": rng.beta(2, 3),
             "any": rng.random()}[kind]
        v = rng.beta(1.2, 4) if kind == "dark" else rng.beta(2, 1.7)
        out.append((h, s, v))
    return out


def colour_name(rgb):
    h, s, v = colorsys.rgb_to_hsv(*[float(c) for c in np.clip(rgb, 0, 1)])
    if v < 0.18:
        return "black"
    if s < 0.14:
        return "white" if v > 0.82 else "grey"
    if 15 <= h * 360 < 45 and v < 0.62:
        return "brown"
    return min(HUES, key=lambda n: abs(n[1] - h * 360))[0]


@dataclasses.dataclass
class Thing:
    """A large shape, or the background (kind "")."""
    kind: str
    texture: str  # or "" where it is plain, or too faint to be seen
    whole: float  # its area if nothing hid it, as a share of the picture; it may reach beyond


def seen(u8, owners, things):
    """[(index into things, share of the picture, colour's name)]: the large things that can be told, the largest first,
    then the background. u8 (H, W, 3), owners (H, W). `whole` is taken as a share of this picture."""
    flat = owners.ravel()
    count = np.bincount(flat, minlength=256)
    sums = np.stack([np.bincount(flat, u8[..., c].ravel(), 256) for c in range(3)], -1)
    share = count / flat.size
    named = [i for i in range(1, len(things)) if share[i] > 0.015 and share[i] > 0.35 * things[i].whole]
    named.sort(key=lambda i: -share[i])

    def colour(i):
        return colour_name(sums[i] / max(1, count[i]) / 255)

    if share[BACKGROUND] < 0.02:  # nearly hidden: what else is not named counts as background
        rest = [i for i in range(256) if i not in named]
        sums[BACKGROUND], count[BACKGROUND] = sums[rest].sum(0), count[rest].sum()
    return [(i, share[i], colour(i)) for i in (*named, BACKGROUND)]


def describe(u8, owners, things, marks):
    """The caption: the three largest things, or marks (words, lines) where there are fewer, and the background."""
    *large, (_, share, colour) = seen(u8, owners, things)
    parts = [" ".join(filter(None, (c, things[i].texture, things[i].kind))) for i, _, c in large]
    ground = things[BACKGROUND].texture if share > 0.05 else ""
    style = "night " if u8.mean() < 60 else "black and white " if np.ptp(u8.astype(int), -1).mean() < 8 else ""
    return f"a {style}photo of " + ", ".join([*(parts + marks)[:3], f"{colour} {ground or 'plain'} background"])


def signed_distance(rng, kind, y, x, r):
    """Signed distance (negative inside), in pixels, of a shape of radius about r at the origin."""
    a = rng.uniform(0, np.pi)
    u, v = np.cos(a) * x + np.sin(a) * y, -np.sin(a) * x + np.cos(a) * y
    if kind == "circle":
        return np.hypot(u, v) - r
    if kind == "oval":
        e = rng.uniform(0.25, 0.8)
        return (np.hypot(u, v / e) - r) * e
    if kind == "bar":
        w = max(1.0, r * rng.uniform(0.02, 0.2))
        return np.maximum(np.abs(u) - r, np.abs(v) - w)
    if kind == "box":
        e = rng.uniform(0.3, 1)
        return np.maximum(np.abs(u) - r * 0.8, np.abs(v) - r * 0.8 * e)
    if kind == "ring":
        w = r * rng.uniform(0.06, 0.3)
        return np.abs(np.hypot(u, v) - (r - w)) - w
    if kind in ("triangle", "polygon"):
        n = 3 if kind == "triangle" else int(rng.integers(4, 8))
        t = np.sort(rng.uniform(0, 2 * np.pi, n)) if kind == "polygon" else a + np.arange(3) * 2.1
        d = -1e9 * np.ones_like(u)
        for k in t:
            d = np.maximum(d, np.cos(k) * u + np.sin(k) * v - r * 0.6)
        return np.maximum(d, np.hypot(u, v) - r)
    # leaf, blob: a radius that varies with the angle
    t = np.arctan2(v, u)
    if kind == "leaf":
        return np.maximum(np.hypot(u, v - r * .8), np.hypot(u, v + r * .8)) - r * 1.28
    rad = r * 0.75 * np.ones_like(t)
    for k in range(2, 7):
        rad += r * rng.normal(0, 0.25 / k) * np.cos(k * t + rng.uniform(0, 6.3))
    return (np.hypot(u, v) - rad) * 0.8


SHAPES = ("circle", "oval", "bar", "box", "ring", "triangle", "polygon", "leaf", "blob")


def expose(rng, canvas, deviation=(0.12, 0.34)):
    """A camera's exposure: brightness spread as widely as in photographs, of which whole ones deviate by 26 to 75
    levels, colours half as much; the ends bend softly. A dark scene stays dark."""
    y = canvas @ np.array([[0.299], [0.587], [0.114]])
    mean = np.clip(y.mean(), 0.06, 0.94)
    k = np.clip(np.exp(rng.uniform(*np.log(deviation))) / max(y.std(), 1e-3), 0.8, 3)
    x = (y - y.mean()) * k + (canvas - y) * np.sqrt(k)
    room = np.where(x > 0, 1 - mean, mean)
    return mean + room * x / (room ** 3 + np.abs(x) ** 3) ** (1 / 3)


class Painter:
    """Renders scenes from a bank of textures that it makes once."""

    def __init__(self, seed, bank=3, side=448):
        rng = np.random.default_rng(seed)
        self.side = side
        self.bank = [(name, f(rng, side)) for name, f in TEXTURES.items() for _ in range(bank)]

    def texture(self, rng, h, w, name=None):
        """Name and a (h, w) piece at a random zoom, flip and place; of the name given, or any."""
        bank = [b for b in self.bank if b[0] == name] if name else self.bank
        name, t = bank[rng.integers(len(bank))]
        if rng.random() < 0.5:
            t = t.T
        t = t[::rng.choice([-1, 1]), ::rng.choice([-1, 1])]
        if rng.random() < 0.4:
            t = t[::2, ::2]
        y, x = rng.integers(0, t.shape[0], 2)
        return name, np.take(np.take(t, np.arange(y, y + h), 0, mode="wrap"), np.arange(x, x + w), 1, mode="wrap")

    def fill(self, rng, h, w, palette):
        """(h, w, 3) colours, and the texture's name, or '' if it has none that can be seen."""
        base = random_colour(rng, palette)
        out = np.broadcast_to(base, (h, w, 3)).copy()
        word = ""
        if rng.random() < 0.6:  # shading: a linear ramp to another brightness or colour
            y, x = np.mgrid[:h, :w].astype(np.float32)
            a = rng.uniform(0, 2 * np.pi)
            ramp = (np.cos(a) * x / w + np.sin(a) * y / h)[..., None]
            end = base * rng.uniform(0.3, 1.7) if rng.random() < 0.7 else random_colour(rng, palette)
            out += (end - base) * ramp
        if rng.random() < 0.78:
            word, t = self.texture(rng, h, w)
            t = t[..., None] * rng.uniform(0.2, 1.2)
            other = random_colour(rng, palette) if rng.random() < 0.35 else out * rng.uniform(0.1, 0.8)
            change = t * np.where(t > 0, 0.7 * (1 - out) * rng.uniform(0, 1), (out - other))
            out = out + change
            if change.mean(-1).std() < FAINT:
                word = ""
        if rng.random() < 0.5:  # hardly any surface is quite even: a second texture, fainter
            out = out * (1 + rng.uniform(0.02, 0.3) * (self.texture(rng, h, w)[1][..., None] - 0.3))
        return np.clip(out, 0, 1).astype(np.float32), word

    def scene(self, rng, size, close=False):
        """uint8 (size, size, 3), owners of its pixels (size, size), the things they mean, and marks: what `describe`
        takes. A close view holds few and large things, all of them in the caption: from it the denoiser learns what
        the words mean."""
        palette = random_palette(rng)
        n = size + 16
        canvas, word = self.fill(rng, n, n, palette)
        if rng.random() < 0.3:  # a sky: smooth, from one colour to another
            a, b = random_colour(rng, palette), random_colour(rng, palette)
            t = np.linspace(0, 1, n, dtype=np.float32)[:, None, None] ** rng.uniform(0.5, 2)
            canvas = a + (b - a) * t + np.zeros((n, n, 3), np.float32)
            word = "sky"
            if rng.random() < 0.5:
                cloud = np.clip(np.kron(power_noise(rng, 64, 1.6), np.ones((n // 64 + 1,) * 2))[:n, :n], 0, 1)
                canvas += gaussian_filter(cloud, 6)[..., None] * 0.4
                word = "clouds"
        owners, things, marks = np.zeros((n, n), np.uint8), [Thing("", word, 1.0)], []
        depth = rng.random() < 0.25  # far things out of focus
        count = int(np.exp(rng.uniform(np.log(20), np.log(320))))
        e, small, big = rng.uniform(0.3, 2), 3.0, size * 0.5  # density of radii ~ r^-(e+1)
        sizes = np.sort((rng.uniform(0, 1, count) * (small ** -e - big ** -e) + big ** -e) ** (-1 / e))
        sizes = sizes[::-1] if rng.random() < 0.5 else rng.permutation(sizes)
        if close:
            sizes = np.sort(rng.uniform(LARGE, 0.45, rng.integers(0, 4)))[::-1] * size
        for i, r in enumerate(sizes):
            soft = rng.choice([0.7, 1.2, 3.0, 8.0], p=[0.7, 0.18, 0.08, 0.04])
            if depth:
                soft = max(soft, 6 * (1 - i / count))
            self.place(rng, canvas, owners, things, float(r), soft, palette, size)
        if close and rng.random() < SOFT:
            s = np.exp(rng.uniform(np.log(3), np.log(14)))
            canvas = gaussian_filter(canvas, (s, s, 0))
            things = [dataclasses.replace(t, texture="") for t in things]
        elif rng.random() < (0.1 if close else 0.3):
            marks.append(self.people(rng, canvas, owners, palette, size, close))
        if rng.random() < 0.22:
            marks.append(self.write(rng, canvas, palette))
        if rng.random() < 0.18:
            marks.append(self.draw_lines(rng, canvas, palette))
        return *self.finish(rng, canvas, owners, size), things, marks

    def place(self, rng, canvas, owners, things, r, soft, palette, size):
        """Draws one shape; a large one is added to things."""
        n = canvas.shape[0]
        cy, cx = rng.uniform(-0.3 * r, n + 0.3 * r, 2)
        y0, y1 = max(0, int(cy - r * 1.3 - soft)), min(n, int(cy + r * 1.3 + soft) + 1)
        x0, x1 = max(0, int(cx - r * 1.3 - soft)), min(n, int(cx + r * 1.3 + soft) + 1)
        if y1 - y0 < 2 or x1 - x0 < 2:
            return
        y, x = np.mgrid[y0:y1, x0:x1].astype(np.float32)
        kind = SHAPES[rng.integers(len(SHAPES))]
        state = rng.bit_generator.state
        d = signed_distance(rng, kind, y - cy, x - cx, r)
        mask = np.clip(0.5 - d / soft, 0, 1)[..., None]
        if rng.random() < 0.2:
            mask = mask * rng.uniform(0.3, 0.9)
        paint, word = self.fill(rng, y1 - y0, x1 - x0, palette)
        style = rng.random()
        if style < 0.25:  # a ball's or cushion's shading, towards the edge
            paint = paint * np.clip(1 + d / (r + 1e-3), 0.15, 1)[..., None] ** -rng.choice([-0.6, 0.25])
        elif style < 0.35:  # an outline
            paint = np.where((d > -max(1.2, r * 0.06))[..., None], random_colour(rng, palette), paint)
        region = canvas[y0:y1, x0:x1]
        if rng.random() < 0.3 and r > 8:  # a soft shadow below
            shade = np.clip(1 - np.maximum(d, 0) / (0.25 * r), 0, 1)[..., None]
            region *= 1 - 0.5 * shade * (1 - mask)
        region += (np.clip(paint, 0, 1) - region) * mask
        owner = OTHERS
        if r >= LARGE * size and mask.max() >= 0.5:
            side = np.linspace(-1.3, 1.3, 40) * r  # the whole of it, once more, on a coarse grid
            again = np.random.Generator(np.random.PCG64())
            again.bit_generator.state = state
            whole = (signed_distance(again, kind, side[:, None] + 0 * side, side + 0 * side[:, None], r) < 0).mean()
            owner = len(things)
            things.append(Thing(kind, word, float(whole * (2.6 * r / size) ** 2)))
        owners[y0:y1, x0:x1][mask[..., 0] >= 0.5] = owner

    def people(self, rng, canvas, owners, palette, size, close):
        """A large face, or several of power-law sizes."""
        count = 1 if close else int(rng.integers(1, 7))
        least, most = (0.2, 0.4) if close else (0.02, 0.3)
        for r in size * least * (most / least) ** rng.random(count):
            faces.place(rng, canvas, owners, OTHERS, r, lambda name, h, w: self.texture(rng, h, w, name)[1],
                        lambda side: self.fill(rng, side, side, palette)[0])
        return "faces" if count > 1 else "a face"

    def write(self, rng, canvas, palette):
        """Words in a plain typeface."""
        n = canvas.shape[0]
        word = WORDS[rng.integers(len(WORDS))]
        for _ in range(int(rng.integers(1, 9))):
            layer = Image.new("L", (n, n), 0)
            font = ImageFont.load_default(int(np.exp(rng.uniform(np.log(9), np.log(70)))))
            ImageDraw.Draw(layer).text((rng.uniform(-20, n * .8), rng.uniform(-5, n * .95)),
                                       WORDS[rng.integers(len(WORDS))] + " " + word, fill=255, font=font)
            if rng.random() < 0.4:
                layer = layer.rotate(rng.uniform(-40, 40), Image.BICUBIC)
            m = np.asarray(layer, np.float32)[..., None] / 255
            canvas += (random_colour(rng, palette) - canvas) * m
        return f"the word {word}"

    def draw_lines(self, rng, canvas, palette):
        """Line art: thin curves drawn at twice the size."""
        n = canvas.shape[0]
        layer = Image.new("L", (2 * n, 2 * n), 0)
        d = ImageDraw.Draw(layer)
        for _ in range(int(rng.integers(3, 40))):
            t = np.linspace(0, 1, 24)
            p = rng.uniform(0, 2 * n, (4, 2))
            q = p[0] + (p[1:] - p[0]) * rng.uniform(0.05, 0.6)
            c = ((1 - t) ** 3)[:, None] * p[0] + (3 * t * (1 - t) ** 2)[:, None] * q[0] \
                + (3 * t * t * (1 - t))[:, None] * q[1] + (t ** 3)[:, None] * q[2]
            d.line([tuple(k) for k in c], fill=255, width=int(rng.integers(1, 6)))
        m = np.asarray(layer.resize((n, n), Image.BOX), np.float32)[..., None] / 255
        canvas += (random_colour(rng, palette) - canvas) * m
        return f"{rng.choice(['thin', 'curved'])} lines"

    def finish(self, rng, canvas, owners, size):
        """Light falling off over the scene, a lens a little soft, sensor grain: the picture and its owners."""
        n = canvas.shape[0]
        if rng.random() < 0.5:
            light = gaussian_filter(rng.standard_normal((n, n)), n / 5)
            canvas = canvas * (1 + 0.35 * light / np.abs(light).max())[..., None]
        if rng.random() < 0.3:  # bend straight edges a little
            y, x = np.mgrid[:n, :n].astype(np.float32)
            dy, dx = (8 * gaussian_filter(rng.standard_normal((n, n)), 24, mode="wrap") * 24 for _ in range(2))
            canvas = np.stack([map_coordinates(canvas[..., c], [y + dy, x + dx], order=1, mode="reflect")
                               for c in range(3)], -1)
            owners = map_coordinates(owners, [y + dy, x + dx], order=0, mode="reflect")
        if rng.random() < 0.3:
            canvas = gaussian_filter(canvas, (s := rng.uniform(0.3, 0.7), s, 0))
        canvas = expose(rng, np.clip(canvas, 0, 1) ** rng.uniform(0.8, 1.3))
        canvas = canvas + rng.normal(0, rng.choice([0, 0.004, 0.01]), canvas.shape)
        u8 = np.clip(np.rint(canvas[8:8 + size, 8:8 + size] * 255), 0, 255).astype(np.uint8)
        return u8, owners[8:8 + size, 8:8 + size]


def render(job):
    """Renders scenes [start, stop) into the memory maps; the worker's textures depend on the block."""
    folder, size, seed, start, stop, close = job
    out, whose = (np.lib.format.open_memmap(folder / f"{name}.npy", mode="r+") for name in ("scenes", "owners"))
    painter = Painter((seed, start))
    captions, contents = [], []
    for i in range(start, stop):
        out[i], whose[i], things, marks = painter.scene(np.random.default_rng((seed, i)), size, close)
        captions.append(describe(out[i], whose[i], things, marks))
        contents.append([[dataclasses.astuple(t) for t in things], marks])
    return start, captions, contents


def main(argv=None):
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("--out", type=Path, required=True)
    ap.add_argument("--count", type=int, default=1600)
    ap.add_argument("--size", type=int, default=320)
    ap.add_argument("--close", action="store_true", help="few and large things in each")
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--workers", type=int, default=2)
    ap.add_argument("--block", type=int, default=40, help="scenes that share one bank of textures")
    a = ap.parse_args(argv)
    a.out.mkdir(parents=True, exist_ok=True)
    captions, contents = ({} if not p.exists() else json.loads(p.read_text()) for p in paths(a.out))
    for name, shape in (("scenes", (3,)), ("owners", ())):
        path = a.out / f"{name}.npy"
        if not path.exists():
            np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(a.count, a.size, a.size, *shape)).flush()
            captions = {} if name == "owners" else captions  # a folder of before there were owners
    blocks = [b for b in range(0, a.count, a.block) if str(b) not in captions]
    jobs = [(a.out, a.size, a.seed, b, min(b + a.block, a.count), a.close) for b in blocks]
    t = time.time()
    with multiprocessing.Pool(a.workers) as pool:
        for start, *block in pool.imap(render, jobs):
            captions[str(start)], contents[str(start)] = block
            for p, what in zip(paths(a.out)[::-1], (contents, captions)):  # captions say what is done
                tmp = p.with_suffix(".tmp")
                tmp.write_text(json.dumps(what, indent=0 if what is captions else None))
                tmp.replace(p)
            print(f"{sum(map(len, captions.values()))} scenes, {time.time() - t:.0f} s", flush=True)


def paths(folder):
    return Path(folder) / "captions.json", Path(folder) / "things.json"


def in_order(blocks):
    """The lists of the blocks from the first on, as one."""
    out, i = [], 0
    while str(i) in blocks:
        out += blocks[str(i)]
        i = len(out)
    return out


def load(folder):
    """(memory-mapped uint8 N x H x W x 3, list of N captions), of the blocks rendered so far."""
    captions = in_order(json.loads(paths(folder)[0].read_text()))
    return np.load(Path(folder) / "scenes.npy", mmap_mode="r")[:len(captions)], captions


def load_contents(folder, count):
    """(memory-mapped owners N x H x W, list of (things, marks)) of the first scenes."""
    contents = in_order(json.loads(paths(folder)[1].read_text()))[:count]
    return (np.load(Path(folder) / "owners.npy", mmap_mode="r")[:count],
            [([Thing(*t) for t in things], marks) for things, marks in contents])


if __name__ == "__main__":
    main()
