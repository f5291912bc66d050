"""Stage 3: the degradation-robust encoder, fine-tuned from the encoder with the decoder fixed.

    python -m train.robust --run RUN --minutes 15 --bf16

The first quarter of the budget compares latents, E_dr(LQ) with E(GT), each channel weighted by what it does to the
decoded picture: a third of the cost of an iteration through the decoder. The rest compares pictures, and how strong
their edges are.

All distances are squared, as printed: an absolute one takes the median, which for a texture that may or may not be
there is flat. The printed loss ||D(E_dr(LQ)) - D(E_dr(GT))||^2 compares two outputs of the trained encoder and is zero for a
constant one. Here it has a small part, beside the distance of D(E_dr(LQ)) to the ground truth itself;
--printed-only trains with the printed loss alone, to watch it collapse.
"""
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter

from . import common, degrade, muon, public, scenes, vae as vae_stage, weights
from .models.vae import Encoder


def new_encoder(vae, deep, start=None, what=""):
    """A copy of the plain encoder with so many blocks more at the smallest size, which do nothing at first; or the weights
    given, of the file that what names."""
    k = vae.config
    encoder = Encoder(k["ch"], k["mult"], k["z"], k["blocks"], k["groups"], deep).to(memory_format=torch.channels_last)
    weights.load(encoder, start or encoder.state_dict() | vae.encoder.state_dict(), what)
    return encoder.requires_grad_(True)


def crop_size(p, batch, small, side, odd):
    """Side and number of an iteration's crops: many small ones first, fewer large ones later, from which alone it can learn to
    take means over wide surfaces, and at last every second time whole scenes of so many pixels a side: over 160 px of them
    the norms' statistics are not yet those of a photograph."""
    if small:
        return 64, 2 * batch
    if p < 0.6:
        return 96, batch
    return (side, max(1, batch // 8)) if odd and p >= 0.8 else (160, max(1, batch // 3))


GRADIENTS, UNFOCUSED = 0.04, 0.4  # of all crops


def gradient(rng, size):
    """uint8 (size, size, 3): from one colour to another, evenly. No scene is as smooth and as vivid, and norms over such a
    picture have statistics of their own."""
    a, b = rng.uniform(0, 255, (2, 3))
    turn = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[:size, :size] / (size - 1) - 0.5
    t = (np.cos(turn) * x + np.sin(turn) * y)[..., None] / np.sqrt(2) + 0.5
    return np.rint(a + (b - a) * t).astype(np.uint8)


def unfocused(rng, far, near):
    """uint8 (size, size, 3): one picture out of focus, and before a part of it another that is sharp."""
    size = len(far)
    far = np.asarray(Image.fromarray(far).filter(ImageFilter.GaussianBlur(2 ** rng.uniform(1, 4))))
    y, x = np.mgrid[:size, :size] / size - rng.uniform(0, 1, 2)[:, None, None]
    turn = rng.uniform(0, 2 * np.pi)
    u, v = np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x
    edge = np.hypot(u, v * rng.uniform(0.5, 2)) - rng.uniform(0, 0.5) if rng.random() < 0.5 else u
    return np.where(edge[..., None] < 0, near, far)


def pairs(rng, pictures, count, size):
    """Low-quality and true crops, both (count, 3, size, size) in [-1, 1]."""
    gt = common.random_crops(rng, pictures, count, size)
    for i in np.flatnonzero(rng.random(count) < UNFOCUSED):
        gt[i] = unfocused(rng, gt[i], common.random_crops(rng, pictures, 1, size)[0])
    for i in np.flatnonzero(rng.random(count) < GRADIENTS):
        gt[i] = gradient(rng, size)
    lq = np.stack([degrade.degrade(rng, x) for x in gt])
    return common.to_tensor(lq), common.to_tensor(gt)


@torch.no_grad()
def sensitivity(vae, pictures):
    """(1, z, 1, 1): how much a small change of each latent channel moves the decoded picture; mean 1."""
    z = vae.encode(common.to_tensor(common.random_crops(np.random.default_rng(2), pictures, 8, 64)))
    y, g = vae.decode(z), torch.Generator().manual_seed(2)
    moved = []
    for c in range(vae.z):
        d = torch.zeros_like(z)
        d[:, c] = 0.2 * torch.randn(z[:, c].shape, generator=g)
        moved.append((vae.decode(z + d) - y).pow(2).mean().sqrt())
    w = torch.stack(moved)
    return (w / w.mean()).view(1, -1, 1, 1)


def even(each):
    """Mean of per-sample squared errors, each divided by its own root: the hopeless samples would drown the mild."""
    return (each / (each.detach() + 1e-4).sqrt()).mean()


def haarpsi(y, x, crop=False, c=30.0, alpha=4.2):
    """HaarPSI (Reisenhofer et al. 2018) of pictures in [-1, 1], one number for each, 1 where they are the same: how
    alike the strengths of their edges are at two scales, those counting most that stand out at a third.

    Least squares alone pays for a sharp edge a little out of place more than for none, and so blurs what it is not
    sure of; this pays for an edge's strength. It sees black around a picture, an edge that of a small crop would have
    half of all the weight: of crops the border is left out.
    """
    m = torch.tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]], device=y.device) * 127.5
    p, q = (F.avg_pool2d(torch.einsum("nchw,kc->nkhw", v.float() + 1, m), 2) for v in (y, x))

    def filtered(v, scale, axis):
        """Haar's differences of 2^scale pixels along an axis of (N, C, H, W), sums along the other."""
        n = 2 ** scale
        k = torch.ones(n, n, device=v.device)
        k.narrow(axis, 0, n // 2).neg_()
        v = F.pad(v, (n // 2 - 1, n // 2, n // 2 - 1, n // 2))
        return F.conv2d(v, k.expand(v.shape[1], 1, n, n) / n, groups=v.shape[1]).abs()

    def like(a, b):
        return (2 * a * b + c) / (a * a + b * b + c)

    sims, weights = [], []
    for axis in (0, 1):
        a, b = ([filtered(v[:, :1], s, axis) for s in (1, 2, 3)] for v in (p, q))
        sims.append((like(a[0], b[0]) + like(a[1], b[1])) / 2)
        weights.append(torch.maximum(a[2], b[2]))
    a, b = (F.avg_pool2d(F.pad(v[:, 1:], (0, 1, 0, 1)), 2, 1).abs() for v in (p, q))
    sims.append(like(a, b).mean(1, keepdim=True))
    weights.append((weights[0] + weights[1]) / 2)
    sims, weights = torch.cat(sims, 1), torch.cat(weights, 1)
    if crop:
        sims, weights = (v[..., 3:-4, 3:-4] for v in (sims, weights))
    v = (weights * torch.sigmoid(alpha * sims)).sum((1, 2, 3)) / (weights.sum((1, 2, 3)) + 1e-6)
    return (torch.logit(v.clamp(0.5, 0.99999)) / alpha) ** 2


def grid(e, cell, window=8):
    """What of errors (N, C, H, W) repeats with every latent, each of cell x cell pixels: (N,), the mean square of how much
    the pixels of a cell differ in the mean over window x window cells."""
    m = F.avg_pool2d(F.pixel_unshuffle(e, cell), window).unflatten(1, (e.shape[1], cell * cell))
    return (m - m.mean(2, keepdim=True)).pow(2).mean((1, 2, 3, 4))


def blotches(e, sides=(8, 16, 32)):
    """What of errors (N, C, H, W) is left in means of so many pixels: (N,), the mean square."""
    return sum(F.avg_pool2d(e, n).pow(2).mean((1, 2, 3)) for n in sides) / len(sides)


def bench(folder):
    """Photographs under plain x4, noise, and blur with noise and JPEG, for watching: name -> (lq, gt)."""
    out = {}
    for name, gt in list(common.photos(folder).items())[::2]:
        rng = np.random.default_rng(3)
        x = degrade.resize(gt.astype(np.float32), 128, 128)
        noisy = degrade.gaussian_noise(rng, x, 40.0)
        mixed = degrade.convolve(gt.astype(np.float32), degrade.gaussian_kernel(rng, 17, (2, 2), "plain"))
        mixed = degrade.jpeg(degrade.gaussian_noise(rng, degrade.resize(mixed, 128, 128), 20.0), 50)
        for kind, y in (("sr4", x), ("noise40", noisy), ("mixed", mixed)):
            y = np.clip(np.rint(y), 0, 255).astype(np.float32)
            big = np.clip(np.rint(degrade.resize(y, 512, 512)), 0, 255).astype(np.uint8)
            out[f"{name}_{kind}"] = common.to_tensor(big), common.to_tensor(gt)
    return out


def main(argv=None):
    ap = common.arguments("robust", minutes=15, lr=3e-3, batch=8)
    ap.add_argument("--photos", help="folder of photographs to watch, never to learn from")
    ap.add_argument("--vae", default="vae_final.pt")
    ap.add_argument("--deep", type=int, default=6, help="blocks more than the plain encoder has, at the smallest size; with "
                    "--init, what that has")
    ap.add_argument("--init", type=Path, help="checkpoint of this stage, or folder of exported weights, to start from")
    ap.add_argument("--latent", type=float, default=0.25, help="part of the budget that compares latents")
    ap.add_argument("--edges", type=float, default=2, help="weight of HaarPSI, which pays for an edge's strength")
    ap.add_argument("--grid", type=float, default=3, help="weight of errors that repeat with every latent")
    ap.add_argument("--smooth", type=float, default=1.5, help="weight of errors that are left in the mean of many pixels")
    ap.add_argument("--printed-only", action="store_true")
    a = ap.parse_args(argv)
    pictures, _ = scenes.load(a.run / "scenes")
    pictures = pictures[16:]
    vae = vae_stage.load(a.run / a.vae).to(a.device)
    start = None
    if a.init:
        start = common.exported(a.init, "first_stage_model.denoise_encoder.") if a.init.is_dir() \
            else common.load(a.init)["model"].get("encoder", {})
        if "conv_in.weight" not in start:
            raise weights.FileError(f"--init {a.init}: no degradation-robust encoder in it")
        a.deep = public.encoder_sizes(start)["deep"]
    encoder = new_encoder(vae, a.deep, start, a.init).to(a.device)
    modules = {"encoder": encoder}
    stage = common.Stage(a, modules, optimizer=muon.of(modules, a.bf16))
    stage.extra.setdefault("deep", a.deep)
    weight = sensitivity(vae, pictures).to(a.device)
    watched = {k: v for k, v in bench(a.photos).items()}

    def step():
        p = stage.progress()
        latent = p < a.latent and not a.printed_only
        size, count = crop_size(1 if a.init else p, a.batch, latent and p < 0.4 * a.latent, pictures.shape[1], stage.iter % 2)
        lq, gt = (x.to(a.device) for x in pairs(stage.rng, pictures, count, size))
        if latent:
            with torch.no_grad():
                target = vae.encode(gt)
            each = (weight * (vae.encode(lq, encoder) - target)).pow(2).mean((1, 2, 3))
            return even(each), {"latent": each.mean().detach()}
        clean = count if a.printed_only else max(1, count // 4)
        y = vae.decode(vae.encode(torch.cat([lq, gt[:clean]]), encoder))
        printed = (y[:clean] - y[count:]).pow(2).mean()
        error = y[:count] - gt
        truth = error.pow(2).mean((1, 2, 3))
        keep = (y[count:] - gt[:clean]).pow(2).mean((1, 2, 3))
        if a.printed_only:
            return printed, {"printed": printed.detach()}
        dy, dx = stage.rng.integers(2, size=2)  # HaarPSI sees every second pixel: not always the same ones
        like = haarpsi(y[:count, :, dy:, dx:], gt[:, :, dy:, dx:], crop=True).mean()
        woven, coarse = grid(error, vae.shrink), blotches(error)
        loss = even(truth) + 0.1 * even(keep) + 0.5 * printed - a.edges * like + a.grid * even(woven) + a.smooth * even(coarse)
        return loss, {"printed": printed.detach(), "truth": truth.mean().detach(), "haarpsi": like.detach(),
                      "grid": 127.5 * woven.mean().sqrt().detach(), "coarse": 127.5 * coarse.mean().sqrt().detach(),
                      "psnr": common.psnr(y[:count].detach(), gt)}

    def evaluate():
        sums = {}
        for k, (lq, gt) in watched.items():
            y = vae.decode(vae.encode(lq.to(a.device), encoder)).cpu()
            kind = k.split("_")[-1]
            for name, picture in (("", y), ("_bicubic", lq)):
                sums.setdefault(kind + name, []).append(common.psnr(picture, gt))
                sums.setdefault(kind + name + "_haarpsi", []).append(float(haarpsi(picture, gt)))
        return {k: float(np.mean(v)) for k, v in sums.items()}

    stage.run(step, evaluate, evaluate_every=300)


def load(paths, vae):
    """The degradation-robust encoder with averaged weights, frozen; of several checkpoints of one shape their mean, where one
    named twice counts twice."""
    checkpoints = [(p, common.load(p)) for p in paths]
    encoder = new_encoder(vae, checkpoints[0][1]["extra"].get("deep", 0))
    common.load_mean(encoder, "encoder", checkpoints)
    return encoder.requires_grad_(False).eval()


if __name__ == "__main__":
    main()
