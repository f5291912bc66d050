"""Makes the pictures of this folder: a true one, and what numpy, scipy and Pillow make of it without noise.

    python make.py PHOTOGRAPH
"""
import sys

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter


def down(x, scale):
    size = (x.shape[1] // scale, x.shape[0] // scale)
    return np.stack([np.asarray(Image.fromarray(np.ascontiguousarray(x[..., c], np.float32)).resize(size, Image.BICUBIC))
                     for c in range(3)], -1)


def save(name, x):
    Image.fromarray(np.clip(np.rint(x), 0, 255).astype(np.uint8)).save(name, optimize=True)


im = Image.open(sys.argv[1]).convert("RGB")
left, top = im.width // 2 - 40, im.height // 2 - 36
gt = np.asarray(im.crop((left, top, left + 80, top + 72))).astype(np.float32)
save("truth.png", gt)
save("sr4.png", down(gt, 4))
save("sr8.png", down(gt, 8))
save("blur2_sr4.png", down(gaussian_filter(gt, (2, 2, 0), mode="reflect", truncate=4.0), 4))
