"""Stage 1: the autoencoder.

    python -m train.vae --run RUN --minutes 30 --bf16

L1 on pixels and on differences at three scales. Deterministic at first; from a quarter of the budget on, noise
is added to the latent (relative to each channel's deviation), so that the decoder forgives a sampler's errors.
Crops grow from 64 to 160 px. At the end of the budget the latent is normalised and the posterior's constant
deviation is written into quant_conv.
"""
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from . import common, scenes
from .models.vae import VAE

NOISE = 0.05


@torch.no_grad()
def start_linear(vae, patches):
    """Starts the encoder's straight path as the 4x4 blocks' principal components, the decoder's as copies.

    patches: (M, 48) float in [-1, 1], each a 4x4x3 block as rows, columns, colours.
    The middle of the picture's way: RGB -> 2x2 blocks (12) -> components of 4x4 blocks (30) -> latents.
    """
    enc, z = vae.encoder, vae.z
    x = patches - patches.mean(0)
    components = torch.linalg.svd(x, full_matrices=False)[2] * 0.5  # (48, 48)
    enc.conv_in.weight[:3] = 0
    enc.conv_in.bias[:3] = 0
    for c in range(3):
        enc.conv_in.weight[c, c, 1, 1] = 1
    first = enc.down[0].downsample.conv
    first.weight[:12] = 0
    for dy in range(2):
        for dx in range(2):
            for c in range(3):
                first.weight[(2 * dy + dx) * 3 + c, c, dy, dx] = 1
    shortcut = enc.down[1].block[0].nin_shortcut
    shortcut.weight[:12] = torch.eye(12, shortcut.in_channels)[..., None, None]
    second = enc.down[1].downsample.conv
    n = second.out_channels - 2
    second.weight[:n] = 0
    for y in range(4):
        for x_ in range(4):
            for c in range(3):
                second.weight[:n, (2 * (y % 2) + x_ % 2) * 3 + c, y // 2, x_ // 2] = components[:n, (4 * y + x_) * 3 + c]
    shortcut = enc.down[2].block[0].nin_shortcut
    w = torch.zeros_like(shortcut.weight)
    w[:z, :z, 0, 0] = torch.eye(z)
    w[z:2 * z, :z, 0, 0] = -torch.eye(z)
    for i in range(z, n):
        w[z + i, i] = 1
    shortcut.weight.copy_(w)
    enc.conv_out.weight.zero_()
    enc.conv_out.bias.zero_()
    for i in range(z):  # silu(x) - silu(-x) = x
        enc.conv_out.weight[i, i, 1, 1], enc.conv_out.weight[i, z + i, 1, 1] = 1, -1
    for level in vae.decoder.up[1:]:
        conv = level.upsample.conv
        c = conv.out_channels - 2
        conv.weight[:c] *= 0.3
        smooth = torch.tensor([1.0, 2, 1]) / 4
        for i in range(c):
            conv.weight[i, i] += smooth[:, None] * smooth


def texture_loss(y, x):
    """L1 of values, and of differences along both axes at three scales."""
    loss = F.l1_loss(y, x)
    for scale in range(3):
        d = y - x
        loss = loss + 0.5 * (d[..., 1:] - d[..., :-1]).abs().mean() + 0.5 * (d[..., 1:, :] - d[..., :-1, :]).abs().mean()
        if scale < 2:
            y, x = F.avg_pool2d(y, 2), F.avg_pool2d(x, 2)
    return loss


def picture_loss(y, x):
    """Each sample's root of the mean square, and a little of the texture loss: what PSNR measures, edges kept."""
    root = ((y - x).pow(2).mean((1, 2, 3)) + 1e-5).sqrt().mean()
    return root + 0.15 * texture_loss(y, x)


def main(argv=None):
    ap = common.arguments("vae", minutes=30, lr=2e-3, batch=12)
    ap.add_argument("--photos", help="folder of photographs to watch, never to learn from")
    ap.add_argument("--ch", type=int, default=16)
    ap.add_argument("--mult", type=int, nargs="+", default=[1, 2, 6])
    ap.add_argument("--latent", type=int, default=8)
    ap.add_argument("--init", type=Path, help="folder of exported weights to go on from")
    a = ap.parse_args(argv)
    pictures, _ = scenes.load(a.run / "scenes")
    held, pictures = pictures[:8], pictures[8:]
    torch.manual_seed(a.seed)
    vae = VAE(a.ch, a.mult, a.latent)
    crops = common.random_crops(np.random.default_rng(1), pictures, 256, 64)
    blocks = common.to_tensor(crops).permute(0, 2, 3, 1).reshape(256, 16, 4, 16, 4, 3).permute(0, 1, 3, 2, 4, 5)
    if a.init:
        common.start_from(a.init, {"first_stage_model.": vae})
    else:
        start_linear(vae, blocks.reshape(-1, 48)[::7])
    vae.to(a.device)
    stage = common.Stage(a, {"vae": vae})
    stage.extra.setdefault("config", vae.config)
    spread = stage.extra.setdefault("std", torch.ones(vae.z))
    watched = {"scenes": common.to_tensor(held)} | {k: common.to_tensor(v) for k, v in common.photos(a.photos).items()}

    def step():
        p = stage.progress()
        late = p > 0.75
        size, count = (160, max(2, a.batch // 5)) if late else (96, a.batch // 2) if p > 0.45 or a.init else (64, a.batch)
        x = common.to_tensor(common.random_crops(stage.rng, pictures, count, size)).to(a.device)
        z = vae.encode(x)
        with torch.no_grad():
            spread.lerp_(z.detach().float().std((0, 2, 3)).cpu(), 0.02)
        if p > 0.25 or a.init:
            z = z + NOISE * min(1, 10 * p if a.init else (p - 0.25) * 10) * spread.view(1, -1, 1, 1).to(z) * torch.randn_like(z)
        y = vae.decode(z)
        loss = picture_loss(y, x)
        return loss, {"loss": loss.detach(), "psnr": common.psnr(y.detach(), x)}

    def evaluate():
        out = {}
        for k, x in watched.items():
            out[k] = common.psnr(vae.decode(vae.encode(x.to(a.device))), x.to(a.device))
        out["photos"] = float(np.mean([v for k, v in out.items() if k != "scenes"] or [0]))
        return out

    stage.run(step, evaluate)
    finish(stage, vae, pictures)


@torch.no_grad()
def finish(stage, vae, pictures):
    """Writes vae_final: averaged weights with a normalised latent."""
    stage.average.swap()
    x = common.to_tensor(pictures[::max(1, len(pictures) // 48)][:48])
    z = torch.cat([vae.encode(x[i:i + 8]) for i in range(0, len(x), 8)])
    vae.normalise(z.mean((0, 2, 3)), z.std((0, 2, 3)), NOISE / 2)
    common.save_atomic(dict(config=vae.config, vae=vae.state_dict()), stage.args.run / f"{stage.args.name}_final.pt")
    stage.average.swap()


def load(path):
    """The finished autoencoder, frozen."""
    s = common.load(path)
    vae = VAE(**s["config"])
    vae.load_state_dict(s["vae"])
    return vae.requires_grad_(False).eval()


if __name__ == "__main__":
    main()
