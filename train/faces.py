"""Faces of simple parts, for scenes: lit skin, eyes, brows, a nose, a mouth, hair, at times glasses, a beard, a hat.

A face's own coordinates have the head's half width as unit: u to its left ear, v down, the eyes' line at v = 0. Edges are
masks that rise over a pixel, colours are floats in [0, 1].
"""
import colorsys

import numpy as np

FAR = 3.2  # half the side of the square that a face with its shoulders is drawn in


def hsv(h, s, v):
    return np.array(colorsys.hsv_to_rgb(h % 1, min(1, max(0, s)), min(1, max(0, v))), np.float32)


class Face:
    """One face drawn into a picture; texture(name, h, w) gives a piece of a grey texture in [-1, 1]."""

    def __init__(self, rng, side, texture):
        """side: of the square in pixels."""
        self.rng, self.side, self.texture = rng, side, texture
        self.unit = side / (2 * FAR)  # pixels
        y, x = (np.mgrid[:side, :side].astype(np.float32) + 0.5) / self.unit - FAR
        a = rng.normal(0, 0.18)
        self.turn = rng.normal(0, 0.3)  # the head's to a side, by which the face's middle moves
        self.u, self.v = np.cos(a) * x + np.sin(a) * y, -np.sin(a) * x + np.cos(a) * y
        self.light = np.array([rng.uniform(-1, 1), -rng.uniform(0, 1), rng.uniform(0.4, 1.2)])  # from above
        self.light /= np.linalg.norm(self.light)
        self.eyes = int(rng.integers(2 ** 31))  # seed of both, which are alike
        self.glasses = float(rng.uniform(0.012, 0.035)) if rng.random() < 0.18 else 0.0  # half the rim's width; 0: none
        self.rim = hsv(rng.random(), rng.uniform(0, 0.5), rng.uniform(0, 0.5))
        self.colour = np.zeros((side, side, 3), np.float32)
        self.cover = np.zeros((side, side, 1), np.float32)

    def mask(self, distance, soft=0.0):
        """1 where distance (units) is below 0; the edge is a pixel wide, or soft."""
        return np.clip(0.5 - distance / max(1 / self.unit, soft), 0, 1)[..., None]

    def radius(self, cu, cv, ru, rv, power):
        """1 on an oval of radii ru and rv, which is the squarer the greater the power; less within."""
        return ((np.abs(self.u - cu) / ru) ** power + (np.abs(self.v - cv) / rv) ** power) ** (1 / power)

    def oval(self, cu, cv, ru, rv, power=2.0, soft=0.0):
        return self.mask((self.radius(cu, cv, ru, rv, power) - 1) * min(ru, rv), soft)

    def line(self, us, vs, width, soft=0.0):
        """A stroke through the points of a curve v(u), width units wide at its middle."""
        at = np.interp(self.u, us, vs)
        t = np.clip((self.u - us[0]) / (us[-1] - us[0]), 0, 1)
        beyond = np.maximum(np.maximum(us[0] - self.u, self.u - us[-1]), 0)
        return self.mask(np.hypot(self.v - at, beyond) - width * (0.35 + 2.6 * t * (1 - t)) / 2, soft)

    def glow(self, cu, cv, ru, rv):
        return np.exp(-((self.u - cu) / ru) ** 2 - ((self.v - cv) / rv) ** 2)[..., None]

    def put(self, mask, colour, strength=1.0):
        """Paints over what is there, and adds to what the face covers."""
        mask = mask * strength
        self.colour += (colour - self.colour) * mask
        self.cover = self.cover + (1 - self.cover) * mask

    def shade(self, mask, factor):
        self.colour *= 1 + (factor - 1) * mask

    def lit(self, cu, cv, ru, rv):
        """Brightness of a lit ellipsoid, about 1."""
        x, y = (self.u - cu) / ru, (self.v - cv) / rv
        z = np.sqrt(np.clip(1 - x * x - y * y, 0.02, 1))
        return (0.35 + 0.75 * np.clip(x * self.light[0] + y * self.light[1] + z * self.light[2], 0, 1))[..., None]

    def hairs(self, colour):
        t = self.texture(str(self.rng.choice(["hair", "fur", "grass"])), self.side, self.side)[..., None]
        return np.clip(colour * (1 + self.rng.uniform(0.2, 0.7) * t) * self.lit(0, 0, 2.2, 2.6), 0, 1)

    def draw(self, cloth):
        """cloth (side, side, 3): what the shoulders wear. -> colours and cover"""
        rng = self.rng
        dark = rng.random()
        skin = hsv(rng.normal(0.065, 0.015), rng.uniform(0.25, 0.5) + 0.15 * dark, 0.98 - 0.7 * dark ** 1.3)
        hair = hsv(rng.normal(0.08, 0.03), rng.uniform(0, 0.6), rng.choice([0.08, 0.2, 0.35, 0.6, 0.8]) * rng.uniform(0.7, 1.2))
        h = rng.uniform(1.25, 1.45)
        m = self.turn * 0.5  # where the face's middle is
        self.put(self.mask(np.maximum(1.75 + 0.25 * self.u ** 2 - self.v, np.abs(self.u) - rng.uniform(2.2, 3.1)), 0.03),
                 cloth * self.lit(0, 3, 4, 2.5))
        long = rng.random() < 0.45
        if long:
            self.put(self.oval(0, 0.3, rng.uniform(1.25, 1.6), rng.uniform(1.8, 2.6), 2.6), self.hairs(hair))
        self.put(self.mask(np.maximum(np.abs(self.u) - 0.52, np.abs(self.v - 1.3) - 0.75), 0.05), skin * 0.75 * self.lit(0, 1, 0.9, 3))
        for side in (-1, 1):
            self.put(self.oval(side * 1.02, 0.15, 0.14, 0.3), skin * 0.85)
        spots = self.texture("clouds", self.side, self.side)[..., None]
        grain = self.texture("sand", self.side, self.side)[..., None]
        face = skin * self.lit(0, 0.1, 1.25, 1.6) * (1 + 0.05 * spots + rng.uniform(0, 0.04) * grain)
        jaw = rng.uniform(0.0, 0.35)  # how narrow the chin is
        narrow = 1 - jaw * np.clip(self.v / h, 0, 1) ** 1.5
        head = self.mask(self.radius(0, 0.1, narrow, h, 2.3) - 1)
        self.put(head, face)
        self.shade(head * self.glow(m * 0.6, 0.75, 1.3, 0.25), np.array([1.03, 0.95, 0.93]))
        for side in (-1, 1):
            self.shade(self.glow(side * 0.55 + m, 0.5, 0.28, 0.22), np.array([1.06, 0.93, 0.92]))  # cheeks
            self.eye(side * rng.normal(0.41, 0.02) * (1 - 0.15 * side * self.turn) + m, side, hair)
        self.nose(m)
        self.mouth(m * 0.9, skin)
        for _ in range(int(rng.integers(0, 4))):  # creases
            u0, v0, s = rng.uniform(-0.7, 0.3), rng.uniform(-0.75, 0.9), rng.uniform(0.2, 0.6)
            us = np.linspace(u0, u0 + s, 8)
            self.shade(head * self.line(us, v0 + rng.normal(0, 0.12) * ((us - u0) / s - 0.5) ** 2 * 4, 0.04, 0.08), rng.uniform(0.75, 0.92))
        if rng.random() < 0.2:  # a beard
            beard = head * np.clip((self.v - 0.55) * 4, 0, 1)[..., None] * (1 - self.oval(m, 0.83, 0.3, 0.1, 2, 0.05))
            self.put(beard, self.hairs(hair), rng.uniform(0.3, 0.95))
        line = rng.uniform(-0.95, -0.6)  # where hair begins
        edge = line + rng.uniform(-0.1, 0.5) * np.abs(self.u - rng.uniform(-0.4, 0.4)) ** 1.5 + 0.05 * spots[..., 0]
        style = rng.random()
        if style < 0.85:
            d = self.radius(0, 0.05, rng.uniform(1.08, 1.2), h + rng.uniform(0.1, 0.3), 2.2)
            sides = self.v - rng.uniform(-0.1, 0.5) if not long else self.v - 1
            over = np.maximum(d - 1, np.maximum(np.minimum(self.v - edge, 0.86 - np.abs(self.u)), sides))
            self.put(self.mask(over, 0.04), self.hairs(hair))
        if style > 0.75:  # a hat
            top = np.maximum(np.abs(self.u) - 1.12, np.maximum(self.v + 0.6 + 0.1 * self.u ** 2, -self.v - rng.uniform(1.4, 1.9)))
            self.put(self.mask(top, 0.03), cloth[::-1] * self.lit(0, -1, 1.5, 1.3))
            self.shade(self.line(np.linspace(-1.15, 1.15, 9), -0.55 + 0.1 * np.linspace(-1.15, 1.15, 9) ** 2, 0.1), 0.4)
        return np.clip(self.colour, 0, 1), self.cover

    def eye(self, u, side, hair):
        """One at u, on a side (-1, 1), with its lids, its brow, and what glasses there are."""
        rng = np.random.default_rng(self.eyes)
        ru, rv = rng.uniform(0.16, 0.21), rng.uniform(0.05, 0.11)
        self.shade(self.glow(u, -0.05, 0.3, 0.2), rng.uniform(0.6, 0.9))
        almond = self.mask(np.hypot(self.u - u, np.abs(self.v) + (ru * ru - rv * rv) / (2 * rv)) - (ru * ru + rv * rv) / (2 * rv))
        closed = rng.random() < 0.08
        if not closed:
            self.put(almond, np.array([0.9, 0.88, 0.86]) * rng.uniform(0.6, 1))
            look = u + rng.uniform(-0.05, 0.05)
            iris = hsv(rng.choice([0.06, 0.08, 0.3, 0.58]), rng.uniform(0.2, 0.7), rng.uniform(0.1, 0.5))
            r = rng.uniform(0.08, 0.105)
            self.put(almond * self.oval(look, 0, r, r), iris)
            self.put(almond * self.oval(look, 0, 0.45 * r, 0.45 * r), np.float32(0.03))
            self.put(self.oval(look + 0.03 * self.light[0], -0.035, 0.022, 0.022), np.float32(0.95), rng.uniform(0.3, 1))
        us = np.linspace(u - ru, u + ru, 9)
        arc = 1 - ((us - u) / ru) ** 2
        self.put(self.line(us, -rv * arc * (0 if closed else 1), rng.uniform(0.03, 0.07)), hair * 0.4)
        self.shade(self.line(us, rv * arc * 0.9, 0.03, 0.05), 0.7)
        self.shade(self.line(us, -rv * arc - 0.09, 0.03, 0.06), 0.75)  # the fold of the lid
        us = np.linspace(u - 0.27, u + 0.27, 9)
        lift = rng.uniform(0.04, 0.12)
        self.put(self.line(us, -0.27 - lift * (1 - ((us - u + side * 0.08) / 0.3) ** 2), rng.uniform(0.05, 0.12), 0.06), hair * 0.7,
                 rng.uniform(0.5, 1))
        if self.glasses:
            ring = np.abs(np.hypot((self.u - u) / 1.15, self.v - 0.03) - 0.29) - self.glasses
            bridge = np.maximum(np.abs(self.v + 0.05) - self.glasses, np.abs(self.u - u + side * 0.41) - 0.08)
            self.put(self.mask(np.minimum(ring, bridge)), self.rim)

    def nose(self, u):
        rng = self.rng
        tip = u + 0.12 * self.turn
        width = rng.uniform(0.16, 0.24)
        self.shade(self.glow(u - 0.17 * np.sign(self.light[0]), 0.25, 0.1, 0.33), rng.uniform(0.72, 0.92))  # the side away from the light
        self.shade(self.glow(tip, 0.2, 0.07, 0.3), rng.uniform(1.02, 1.18))
        self.shade(self.glow(tip, 0.42, width * 0.7, 0.09), rng.uniform(1.0, 1.15))
        self.shade(self.glow(tip, 0.56, width * 1.3, 0.06), rng.uniform(0.6, 0.85))
        for side in (-1, 1):
            self.shade(self.oval(tip + side * width * 0.5, 0.52, 0.055, 0.03, 2, 0.03), rng.uniform(0.25, 0.6))
            if rng.random() < 0.6:  # the fold from the nose to the mouth's corner
                us = np.sort(tip + side * (width + np.linspace(0, 0.18, 6)))
                self.shade(self.line(us, 0.5 + (np.abs(us - tip) - width) * 1.6, 0.04, 0.1), 0.82)

    def mouth(self, u, skin):
        rng = self.rng
        half, bend = rng.uniform(0.24, 0.4), rng.uniform(-0.03, 0.1)
        us = np.linspace(u - half, u + half, 17)
        s = (us - u) / half
        middle = 0.85 - bend * s * s
        at = np.interp(self.u, us, middle)
        inside = np.clip(1 - ((self.u - u) / half) ** 2, 0, 1)
        open_ = max(0.0, rng.uniform(-0.12, 0.14))
        upper, lower = rng.uniform(0.05, 0.1), rng.uniform(0.07, 0.13)
        lips = skin * np.array([1.0, rng.uniform(0.55, 0.85), rng.uniform(0.6, 0.85)]) * rng.uniform(0.7, 1)
        top = at - open_ * inside * 0.4 - upper * inside ** 0.7
        bottom = at + open_ * inside + lower * inside ** 0.7
        within = np.maximum(np.abs(self.u - u) - half, 0)
        self.put(self.mask(np.maximum(np.maximum(top - self.v, self.v - bottom), within), 0.03), lips * self.lit(u, 0.85, 1, 0.6))
        gap = np.maximum(np.maximum(at - open_ * inside * 0.4 - self.v, self.v - at - open_ * inside), within)
        if open_ > 0.02:
            self.put(self.mask(gap), np.array([0.25, 0.08, 0.08]))
            if rng.random() < 0.8:
                self.put(self.mask(np.maximum(gap, self.v - at - 0.55 * open_ * inside)), np.float32(rng.uniform(0.75, 0.95)))
        else:
            self.shade(self.line(us, middle, 0.03), 0.45)
        self.shade(self.glow(u, 1.05, 0.22, 0.05), 0.86)


def place(rng, canvas, owners, owner, r, texture, cloth):
    """Draws a face whose head is 2 r pixels wide anywhere on canvas (n, n, 3); its pixels become owner's."""
    n, side = canvas.shape[0], max(8, int(2 * FAR * r))
    colour, cover = Face(rng, side, texture).draw(cloth(side))
    top, left = (int(rng.uniform(-0.35 * side, n - 0.5 * side)) for _ in range(2))
    y0, x0, y1, x1 = max(0, top), max(0, left), min(n, top + side), min(n, left + side)
    if y1 - y0 < 2 or x1 - x0 < 2:
        return
    part = np.s_[y0 - top:y1 - top, x0 - left:x1 - left]
    region = canvas[y0:y1, x0:x1]
    region += (colour[part] - region) * cover[part]
    owners[y0:y1, x0:x1][cover[part][..., 0] >= 0.5] = owner
