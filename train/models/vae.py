"""The KL autoencoder of SDXL's layout, small: three levels (shrinks by 4), no attention in the middle.

Group norm is what keeps a small autoencoder from learning: it removes a picture's mean and contrast, and its
statistics over a crop differ from those over a photograph. Against it every stream starts with two "anchor"
channels, the constants +K and -K with K = sqrt(channels): they dominate the statistics, so that at the start
a norm is nearly a fixed scaling. They are ordinary channels with ordinary weights, free to change.
"""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F


class Norm(nn.GroupNorm):
    """GN(groups, 1e-6) whose first weights undo the anchors' share and hide the anchors themselves."""

    def __init__(self, groups, c):
        super().__init__(groups, c, eps=1e-6)
        with torch.no_grad():
            self.weight.fill_(1.5)
            for i in anchors(c, groups):
                self.weight[i] = 0


def anchors(c, groups):
    """The last two channels of every group."""
    return [g * (c // groups) + c // groups - k for g in range(groups) for k in (2, 1)]


@torch.no_grad()
def anchor(conv, groups):
    """Makes two outputs per group the constants +K and -K."""
    c = conv.out_channels
    for n, i in enumerate(anchors(c, groups)):
        conv.weight[i] = 0
        conv.bias[i] = math.sqrt(c / groups) * (-1) ** n


class ResnetBlock(nn.Module):
    """norm1, SiLU, conv1, norm2, SiLU, conv2, plus the input. (N, cin, H, W) -> (N, cout, H, W)"""

    def __init__(self, cin, cout, groups):
        super().__init__()
        self.norm1, self.conv1 = Norm(groups, cin), nn.Conv2d(cin, cout, 3, padding=1)
        self.norm2, self.conv2 = Norm(groups, cout), nn.Conv2d(cout, cout, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv1.bias)
        nn.init.zeros_(self.conv2.bias)
        anchor(self.conv1, groups)
        if cin != cout:
            self.nin_shortcut = nn.Conv2d(cin, cout, 1)
            nn.init.zeros_(self.nin_shortcut.bias)
            anchor(self.nin_shortcut, groups)

    def forward(self, x):
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x) + h


class Downsample(nn.Module):
    """3x3 stride 2 after padding right and bottom by 1: (N, C, H, W) -> (N, C, H/2, W/2)"""

    def __init__(self, c, groups):
        super().__init__()
        self.conv = nn.Conv2d(c, c, 3, stride=2)
        nn.init.zeros_(self.conv.bias)
        anchor(self.conv, groups)

    def forward(self, x):
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Nearest x2, then 3x3: (N, C, H, W) -> (N, C, 2H, 2W)"""

    def __init__(self, c, groups):
        super().__init__()
        self.conv = nn.Conv2d(c, c, 3, padding=1)
        nn.init.zeros_(self.conv.bias)
        anchor(self.conv, groups)

    def forward(self, x):
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Attention(nn.Module):
    """A single head over all positions, plus the input. (N, C, H, W) -> (N, C, H, W)"""

    def __init__(self, c, groups):
        super().__init__()
        self.norm = nn.GroupNorm(groups, c, eps=1e-6)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(c, c, 1) for _ in range(4))

    def forward(self, x):
        h = self.norm(x)
        q, k, v = (conv(h).flatten(2).transpose(1, 2) for conv in (self.q, self.k, self.v))
        h = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
        return x + self.proj_out(h.transpose(1, 2).reshape(x.shape))


class Middle(nn.Module):
    """block_1, attn_1, block_2. The small model has no attn_1: over 128 x 128 positions it costs more than the rest."""

    def __init__(self, c, groups, attention=False):
        super().__init__()
        self.block_1, self.block_2 = ResnetBlock(c, c, groups), ResnetBlock(c, c, groups)
        if attention:
            self.attn_1 = Attention(c, groups)

    def forward(self, x):
        x = self.block_1(x)
        return self.block_2(self.attn_1(x) if hasattr(self, "attn_1") else x)


class Level(nn.Module):
    """The blocks of one resolution, and the way to the next."""

    def __init__(self, cin, cout, blocks, groups, change=None):
        super().__init__()
        self.block = nn.ModuleList([ResnetBlock(cin if i == 0 else cout, cout, groups) for i in range(blocks)])
        if change is not None:
            setattr(self, change.__name__.lower(), change(cout, groups))

    def forward(self, x):
        for b in self.block:
            x = b(x)
        if hasattr(self, "downsample"):
            return self.downsample(x)
        return self.upsample(x) if hasattr(self, "upsample") else x


class Encoder(nn.Module):
    """(N, 3, H, W) -> (N, 2z, H/4, W/4): mean and logvar before quant_conv

    deep: blocks more at the smallest size.
    """

    def __init__(self, ch, mult, z, blocks, groups, deep=0, attention=False):
        super().__init__()
        dims = [ch * m for m in mult]
        self.conv_in = nn.Conv2d(3, ch, 3, padding=1)
        anchor(self.conv_in, groups)
        self.down = nn.ModuleList([
            Level(dims[max(0, i - 1)], d, blocks + (deep if i == len(dims) - 1 else 0), groups,
                  Downsample if i < len(dims) - 1 else None) for i, d in enumerate(dims)])
        self.mid = Middle(dims[-1], groups, attention)
        self.norm_out = Norm(groups, dims[-1])
        self.conv_out = nn.Conv2d(dims[-1], 2 * z, 3, padding=1)

    def forward(self, x):
        h = self.conv_in(x)
        for level in self.down:
            h = level(h)
        return self.conv_out(F.silu(self.norm_out(self.mid(h))))


class Decoder(nn.Module):
    """(N, z, h, w) -> (N, 3, 4h, 4w)"""

    def __init__(self, ch, mult, z, blocks, groups, attention=False):
        super().__init__()
        dims = [ch * m for m in mult]
        self.conv_in = nn.Conv2d(z, dims[-1], 3, padding=1)
        anchor(self.conv_in, groups)
        self.mid = Middle(dims[-1], groups, attention)
        self.up = nn.ModuleList([
            Level(dims[min(len(dims) - 1, i + 1)], d, blocks, groups, Upsample if i > 0 else None)
            for i, d in enumerate(dims)])
        self.norm_out = Norm(groups, dims[0])
        self.conv_out = nn.Conv2d(dims[0], 3, 3, padding=1)

    def forward(self, z):
        h = self.mid(self.conv_in(z))
        for level in reversed(self.up):
            h = level(h)
        return self.conv_out(F.silu(self.norm_out(h)))


class VAE(nn.Module):
    """first_stage_model: encoder, decoder, and the 1x1 convolutions around the latent.

    Latents here are the scaled ones, 0.13025 * mean; `normalise` makes them of unit deviation.
    """

    def __init__(self, ch=16, mult=(1, 2, 4), z=8, blocks=1, groups=1, scale=0.13025, attention=False):
        super().__init__()
        self.config = dict(ch=ch, mult=tuple(mult), z=z, blocks=blocks, groups=groups, attention=attention)
        self.scale, self.z, self.shrink = scale, z, 2 ** (len(mult) - 1)
        self.encoder = Encoder(ch, mult, z, blocks, groups, attention=attention)
        self.decoder = Decoder(ch, mult, z, blocks + 1, groups, attention)
        self.quant_conv = nn.Conv2d(2 * z, 2 * z, 1)
        self.post_quant_conv = nn.Conv2d(z, z, 1)
        with torch.no_grad():
            for conv in (self.quant_conv, self.post_quant_conv):
                conv.weight.copy_(torch.eye(conv.out_channels)[..., None, None])
                conv.bias.zero_()
            self.quant_conv.weight[:z] /= scale
            self.post_quant_conv.weight *= scale
            self.quant_conv.weight[z:] = 0
            self.quant_conv.bias[z:] = -30.0
        for conv in (self.quant_conv, self.post_quant_conv):
            conv.requires_grad_(False)
        self.to(memory_format=torch.channels_last)

    def encode(self, x, encoder=None):
        """(N, 3, H, W) in [-1, 1] -> the scaled mode (N, z, H/4, W/4)"""
        h = (encoder or self.encoder)(x)
        return self.quant_conv(h.float())[:, :self.z] * self.scale

    def decode(self, z):
        return self.decoder(self.post_quant_conv(z / self.scale)).float()

    @torch.no_grad()
    def normalise(self, mean, std, noise):
        """Folds (z - mean) / std into the 1x1 convolutions; the posterior's deviation becomes `noise`.

        mean, std: (z,) of the scaled latents as they are now.
        """
        z, q, p = self.z, self.quant_conv, self.post_quant_conv
        q.weight[:z] /= std.view(-1, 1, 1, 1)
        q.bias[:z] = (q.bias[:z] - mean / self.scale) / std
        q.bias[z:] = 2 * math.log(noise / self.scale)
        p.bias += (p.weight[:, :, 0, 0] @ mean) / self.scale
        p.weight *= std.view(1, -1, 1, 1)
