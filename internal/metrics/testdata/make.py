"""Makes vectors.json: the metrics of made pictures, by numpy and scipy.

    python make.py METRICS.py > vectors.json

METRICS.py is an independent implementation with all_metrics(truth, picture) on uint8 arrays. The pictures are made
of integers alone, so that the test makes the same ones.
"""
import importlib.util
import json
import sys

import numpy as np


def noise(n, seed):
    """n numbers of 0…255 from a linear congruential generator."""
    out, s = np.empty(n, np.int64), seed
    for i in range(n):
        s = (s * 1664525 + 1013904223) % 2 ** 32
        out[i] = s >> 24
    return out


def truth(w, h):
    y, x = np.mgrid[:h, :w]
    disc = (x - w // 3) ** 2 + (y - h // 2) ** 2 < (h // 4) ** 2
    r = np.where(disc, 200, x * 255 // w)
    g = np.where((x // 9 + y // 13) % 2 == 0, 60 + y * 100 // h, 180)
    b = np.where(disc, 40, 90 + (x * y) % 97)
    return (np.stack([r, g, b], -1) + noise(w * h * 3, 1).reshape(h, w, 3) // 16).clip(0, 255)


def box(x):
    """Mean of 3x3 pixels, edges repeated."""
    p = np.pad(x, ((1, 1), (1, 1), (0, 0)), mode="edge")
    h, w, _ = x.shape
    return sum(p[i:i + h, j:j + w] for i in range(3) for j in range(3)) // 9


def main():
    spec = importlib.util.spec_from_file_location("metrics", sys.argv[1])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    out = []
    for w, h in ((192, 177), (64, 51)):
        t = truth(w, h)
        kinds = {
            "blurred": box(box(t)),
            "noisy": (t + noise(t.size, 2).reshape(t.shape) // 4 - 32).clip(0, 255),
            "darker": t * 4 // 5,
            "blocky": t // 32 * 32,
        }
        for kind, p in kinds.items():
            scores = module.all_metrics(t.astype(np.uint8), p.astype(np.uint8))
            y = [v.astype(float) @ [0.299, 0.587, 0.114] for v in (t, p)]
            e = [(np.diff(v, axis=0) ** 2).sum() + (np.diff(v, axis=1) ** 2).sum() for v in y]
            scores["Sharpness"] = e[1] / e[0]
            m = [v[:h // 16 * 16, :w // 16 * 16].reshape(h // 16, 16, w // 16, 16, 3).mean((1, 3)) for v in (t, p)]
            scores["Shift"] = np.abs(m[0] - m[1]).mean()
            out.append(dict(w=w, h=h, kind=kind, scores={k: v if np.isfinite(v) else None for k, v in scores.items()}))
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
