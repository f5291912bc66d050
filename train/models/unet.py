"""SDXL's U-Net, small (networks.md, "U-Net"), and the parts the adaptor shares with it."""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F


def sinusoid(v, d):
    """(N,) -> (N, d): cosines, then sines."""
    f = torch.exp(-math.log(10000) * torch.arange(d // 2, device=v.device) / (d // 2))
    a = v.float()[:, None] * f
    return torch.cat([a.cos(), a.sin()], -1)


def size_vector(pooled, d):
    """y = pooled text, then the sinusoids of 1024, 1024, 0, 0, 1024, 1024: (N, P + 6 d)"""
    sizes = torch.tensor([1024., 1024, 0, 0, 1024, 1024], device=pooled.device)
    return torch.cat([pooled, sinusoid(sizes, d).reshape(1, -1).expand(len(pooled), -1).to(pooled)], -1)


def zero(module):
    for p in module.parameters():
        nn.init.zeros_(p)
    return module


class ResBlock(nn.Module):
    """(N, cin, H, W), emb (N, E) -> (N, cout, H, W)"""

    def __init__(self, cin, cout, emb, groups):
        super().__init__()
        self.in_layers = nn.Sequential(nn.GroupNorm(groups, cin, 1e-5), nn.SiLU(), nn.Conv2d(cin, cout, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb, cout))
        self.out_layers = nn.Sequential(nn.GroupNorm(groups, cout, 1e-5), nn.SiLU(), nn.Dropout(0.0),
                                        zero(nn.Conv2d(cout, cout, 3, padding=1)))
        self.skip_connection = nn.Conv2d(cin, cout, 1) if cin != cout else nn.Identity()

    def forward(self, x, emb):
        h = self.in_layers(x) + self.emb_layers(emb)[:, :, None, None].to(x.dtype)
        return self.skip_connection(x) + self.out_layers(h)


def attend(q, k, v):
    """Attention over (N, H, T, D); spelled out on processors, where the fused one's gradient is slow."""
    if q.device.type != "cpu" or q.shape[2] * k.shape[2] > 1 << 20:
        return F.scaled_dot_product_attention(q, k, v)
    scores = torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(-1, -2))
    return torch.matmul(scores.softmax(-1, dtype=torch.float32).to(v.dtype), v)


class CrossAttention(nn.Module):
    """Queries (N, T, C) over a context (N, S, D), or over themselves."""

    def __init__(self, c, context, head_dim):
        super().__init__()
        self.heads = c // head_dim
        self.to_q = nn.Linear(c, c, bias=False)
        self.to_k = nn.Linear(context, c, bias=False)
        self.to_v = nn.Linear(context, c, bias=False)
        self.to_out = nn.Sequential(nn.Linear(c, c), nn.Dropout(0.0))

    def forward(self, x, context=None):
        context = x if context is None else context
        n, t, c = x.shape
        split = lambda v: v.view(n, -1, self.heads, c // self.heads).transpose(1, 2)
        h = attend(split(self.to_q(x)), split(self.to_k(context)), split(self.to_v(context)))
        return self.to_out(h.transpose(1, 2).reshape(n, t, c))


class GEGLU(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.proj = nn.Linear(c, 8 * c)

    def forward(self, x):
        a, g = self.proj(x).chunk(2, -1)
        return a * F.gelu(g)


class FeedForward(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.net = nn.Sequential(GEGLU(c), nn.Dropout(0.0), nn.Linear(4 * c, c))

    def forward(self, x):
        return self.net(x)


class TransformerBlock(nn.Module):
    def __init__(self, c, context, head_dim):
        super().__init__()
        self.attn1, self.attn2 = CrossAttention(c, c, head_dim), CrossAttention(c, context, head_dim)
        self.ff = FeedForward(c)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(c) for _ in range(3))

    def forward(self, x, context):
        x = x + self.attn1(self.norm1(x))
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    """(N, C, H, W) as H W tokens through `depth` blocks, plus the input."""

    def __init__(self, c, depth, context, head_dim, groups):
        super().__init__()
        self.norm = nn.GroupNorm(groups, c, 1e-6)
        self.proj_in = nn.Linear(c, c)
        self.transformer_blocks = nn.ModuleList([TransformerBlock(c, context, head_dim) for _ in range(depth)])
        self.proj_out = zero(nn.Linear(c, c))

    def forward(self, x, context):
        n, c, h, w = x.shape
        t = self.proj_in(self.norm(x).permute(0, 2, 3, 1).reshape(n, h * w, c))
        for block in self.transformer_blocks:
            t = block(t, context)
        return x + self.proj_out(t).view(n, h, w, c).permute(0, 3, 1, 2)


class Downsample(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.op = nn.Conv2d(c, c, 3, stride=2, padding=1)

    def forward(self, x):
        return self.op(x)


class Upsample(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv = nn.Conv2d(c, c, 3, padding=1)

    def forward(self, x):
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def apply(block, x, emb, context):
    """Runs one entry of input_blocks, middle_block or output_blocks."""
    for layer in block:
        if isinstance(layer, ResBlock):
            x = layer(x, emb)
        elif isinstance(layer, SpatialTransformer):
            x = layer(x, context)
        else:
            x = layer(x)
    return x


class Trunk(nn.Module):
    """time_embed, label_emb, input_blocks, middle_block: what the U-Net and the adaptor have in common."""

    def __init__(self, channels=32, mult=(1, 2, 3), depth=(0, 1, 1), middle=1, blocks=2, head_dim=32, groups=4,
                 context=88, pooled=48, size_dim=16, z=8):
        super().__init__()
        self.config = dict(channels=channels, mult=tuple(mult), depth=tuple(depth), middle=middle, blocks=blocks,
                           head_dim=head_dim, groups=groups, context=context, pooled=pooled, size_dim=size_dim, z=z)
        emb = 4 * channels
        self.channels, self.size_dim = channels, size_dim
        self.time_embed = nn.Sequential(nn.Linear(channels, emb), nn.SiLU(), nn.Linear(emb, emb))
        self.label_emb = nn.Sequential(nn.Sequential(nn.Linear(pooled + 6 * size_dim, emb), nn.SiLU(),
                                                     nn.Linear(emb, emb)))
        attention = lambda c, d: [SpatialTransformer(c, d, context, head_dim, groups)] if d else []
        self.input_blocks = nn.ModuleList([nn.ModuleList([nn.Conv2d(z, channels, 3, padding=1)])])
        c, self.skips = channels, [channels]
        for i, m in enumerate(mult):
            for _ in range(blocks):
                self.input_blocks.append(nn.ModuleList([ResBlock(c, m * channels, emb, groups),
                                                        *attention(m * channels, depth[i])]))
                c = m * channels
                self.skips.append(c)
            if i < len(mult) - 1:
                self.input_blocks.append(nn.ModuleList([Downsample(c)]))
                self.skips.append(c)
        self.middle_block = nn.ModuleList([ResBlock(c, c, emb, groups), *attention(c, middle), ResBlock(c, c, emb, groups)])

    def embed(self, t, pooled):
        """t (N,) indices, pooled (N, P) -> (N, E)"""
        y = size_vector(pooled, self.size_dim)
        return self.time_embed(sinusoid(t, self.channels)) + self.label_emb(y)


class UNet(Trunk):
    """eps(x, t, context, pooled); `connect(place, i, h, skip)` is where the adaptor's connectors come in."""

    def __init__(self, **config):
        super().__init__(**config)
        k = self.config
        channels, mult, depth, groups = k["channels"], k["mult"], k["depth"], k["groups"]
        emb, c, skips = 4 * channels, self.skips[-1], list(self.skips)
        self.output_blocks = nn.ModuleList()
        for i in reversed(range(len(mult))):
            for j in range(k["blocks"] + 1):
                block = [ResBlock(c + skips.pop(), mult[i] * channels, emb, groups)]
                c = mult[i] * channels
                if depth[i]:
                    block.append(SpatialTransformer(c, depth[i], k["context"], k["head_dim"], groups))
                if i > 0 and j == k["blocks"]:
                    block.append(Upsample(c))
                self.output_blocks.append(nn.ModuleList(block))
        self.out = nn.Sequential(nn.GroupNorm(groups, c, 1e-5), nn.SiLU(), zero(nn.Conv2d(c, k["z"], 3, padding=1)))
        self.to(memory_format=torch.channels_last)

    @torch.no_grad()
    def start_straight(self):
        """Lets training start at eps = x, which is nearly true where noise prevails.

        The input's pairs (x, -x) run through the first skip connection to the output, where SiLU(x) - SiLU(-x) = x.
        """
        z, channels = self.config["z"], self.channels
        first, join, last = self.input_blocks[0][0], self.output_blocks[-1][0].skip_connection, self.out[2]
        pairs = torch.zeros(2 * z, z)
        for i in range(z):
            pairs[2 * i, i], pairs[2 * i + 1, i] = 1, -1
        first.weight[:2 * z] = 0
        first.weight[:2 * z, :, 1, 1] = pairs
        first.bias.zero_()
        join.weight[:2 * z] = 0
        join.weight[:2 * z, -channels:, 0, 0] = torch.eye(2 * z, channels)
        join.bias.zero_()
        last.weight[:, :2 * z, 1, 1] = pairs.T

    def forward(self, x, t, context, pooled, connect=None):
        """x (N, z, h, w) scaled by c_in, t (N,), context (N, 77, D), pooled (N, P) -> eps like x"""
        emb = self.embed(t, pooled)
        h, skips = x, []
        for block in self.input_blocks:
            h = apply(block, h, emb, context)
            skips.append(h)
        h = apply(self.middle_block, h, emb, context)
        if connect:
            h = connect.middle(h)
        for i, block in enumerate(self.output_blocks):
            skip = skips.pop()
            h = connect.skip(i, h, skip) if connect else torch.cat([h, skip], 1)
            up = isinstance(block[-1], Upsample)
            h = apply(block[:-1] if up else block, h, emb, context)
            if up:
                h = connect.cross(i, h) if connect else h
                h = block[-1](h)
        return self.out(h).float()
