"""The adaptor (Fig. 3b) and its connectors to the U-Net's decoder, ZeroSFT and ZeroCrossAttn (Fig. 3c)."""
import torch
import torch.nn as nn
import torch.nn.functional as F

from .unet import CrossAttention, Trunk, apply, zero


class Adaptor(Trunk):
    """A copy of the U-Net's encoder that also sees the low-quality latent; returns ten features."""

    def __init__(self, **config):
        super().__init__(**config)
        self.input_hint_block = nn.ModuleList([zero(nn.Conv2d(config["z"], config["channels"], 3, padding=1))])
        self.to(memory_format=torch.channels_last)

    def forward(self, x, lq, t, context, pooled):
        """x (N, z, h, w) scaled by c_in, lq (N, z, h, w) not scaled -> features of every input block and the middle"""
        emb = self.embed(t, pooled)
        h = apply(self.input_blocks[0], x, emb, context) + self.input_hint_block[0](lq)
        features = [h]
        for block in self.input_blocks[1:]:
            h = apply(block, h, emb, context)
            features.append(h)
        return features + [apply(self.middle_block, h, emb, context)]


class ZeroSFT(nn.Module):
    """Scales and shifts a skip connection by the adaptor's feature; the result is the concatenation."""

    def __init__(self, feature, skip, concat, groups, hidden):
        super().__init__()
        self.zero_conv = zero(nn.Conv2d(feature, skip, 1))
        self.mlp_shared = nn.Sequential(nn.Conv2d(feature, hidden, 3, padding=1), nn.SiLU())
        self.zero_mul = zero(nn.Conv2d(hidden, skip + concat, 3, padding=1))
        self.zero_add = zero(nn.Conv2d(hidden, skip + concat, 3, padding=1))
        self.param_free_norm = nn.GroupNorm(groups, skip + concat, 1e-5)

    def forward(self, c, s, f=None, w=1.0):
        """c (N, feature, h, w), s (N, skip, h, w), f (N, concat, h, w) or None -> (N, concat + skip, h, w)"""
        join = lambda v: v if f is None else torch.cat([f, v], 1)
        h = join(s + self.zero_conv(c))
        a = self.mlp_shared(c)
        h = self.param_free_norm(h) * (self.zero_mul(a) + 1) + self.zero_add(a)
        return h if w == 1 else w * h + (1 - w) * join(s)


class ZeroConv(nn.Module):
    """ControlNet's connector, what ZeroSFT is compared with: a skip connection plus a convolution that starts at zero."""

    def __init__(self, feature, skip):
        super().__init__()
        self.zero_conv = zero(nn.Conv2d(feature, skip, 1))

    def forward(self, c, s, f=None, w=1.0):
        """As ZeroSFT's."""
        h = s + w * self.zero_conv(c)
        return h if f is None else torch.cat([f, h], 1)


class ZeroCrossAttn(nn.Module):
    """The decoder's tokens attend to the adaptor's feature."""

    def __init__(self, query, context, groups, head_dim):
        super().__init__()
        self.attn = CrossAttention(query, context, head_dim)
        zero(self.attn.to_out[0])
        self.norm1, self.norm2 = nn.GroupNorm(groups, query, 1e-5), nn.GroupNorm(groups, context, 1e-5)

    def forward(self, c, x, w=1.0):
        """c (N, context, h, w), x (N, query, h, w) -> like x"""
        tokens = lambda v: v.flatten(2).transpose(1, 2)
        h = self.attn(tokens(self.norm1(x)), tokens(self.norm2(c)))
        return x + w * h.transpose(1, 2).reshape(x.shape)


def layout(unet):
    """The table of networks.md for any U-Net of three levels with two blocks each, from index 11 down.

    Yields (index, kind, feature, feature channels, skip or query channels, concatenated channels, output block).
    """
    skips = unet.skips
    h = [skips[-1]] + [b[0].out_layers[3].out_channels for b in unet.output_blocks]
    yield 11, "middle", 9, skips[-1], skips[-1], 0, None
    index = 10
    for i in range(len(unet.output_blocks)):
        k = len(skips) - 1 - i
        yield index, "skip", k, skips[k], skips[k], h[i], i
        index -= 1
        if len(unet.output_blocks[i]) > 1 and hasattr(unet.output_blocks[i][-1], "conv"):
            yield index, "cross", k, skips[k], h[i + 1], 0, i
            index -= 1


KINDS = "zerosft", "zeroconv"


class Connectors(nn.ModuleList):
    """project_modules; `bind` gives the object that UNet.forward calls.

    kind: ZeroSFT with ZeroCrossAttn, as in the paper, or zero convolutions on skips and middle alone, as in ControlNet.
    """

    def __init__(self, unet, groups=4, head_dim=32, hidden=32, kind=KINDS[0]):
        rows = sorted(layout(unet))
        if kind == "zeroconv":
            rows = [row for row in rows if row[1] != "cross"]
            modules = [ZeroConv(c, s) for *_, c, s, _, _ in rows]
        else:
            modules = [ZeroCrossAttn(s, c, groups, head_dim) if place == "cross" else ZeroSFT(c, s, f, groups, hidden)
                       for _, place, _, c, s, f, _ in rows]
        super().__init__(modules)
        self.config = dict(groups=groups, head_dim=head_dim, hidden=hidden)
        self.place = {(place, block): (i, row[0]) for i, (_, place, *row, block) in enumerate(rows)}
        self.to(memory_format=torch.channels_last)

    def bind(self, features, w=1.0):
        return Bound(self, features, w)


class Bound:
    """Connectors with one step's features and control scale."""

    def __init__(self, connectors, features, w):
        self.connectors, self.features, self.w = connectors, features, w

    def at(self, place, block):
        index, feature = self.connectors.place[place, block]
        return self.connectors[index], self.features[feature]

    def middle(self, h):
        connector, c = self.at("middle", None)
        return connector(c, h, None, self.w)

    def skip(self, block, h, s):
        connector, c = self.at("skip", block)
        return connector(c, s, h, self.w)

    def cross(self, block, h):
        if ("cross", block) not in self.connectors.place:  # zero convolutions
            return h
        connector, c = self.at("cross", block)
        return connector(c, h, self.w)


class Recorder(Bound):
    """Passes everything through and keeps each norm's usual mean and deviation by group."""

    def __init__(self, connectors):
        super().__init__(connectors, None, 1.0)
        self.seen = {}

    def note(self, kind, block, h):
        index, _ = self.connectors.place[kind, block]
        g = h.float().unflatten(1, (self.connectors.config["groups"], -1)).flatten(2)
        self.seen.setdefault(index, []).append(torch.stack([g.mean(-1).mean(0), g.std(-1).mean(0)]))
        return h

    def middle(self, h):
        return self.note("middle", None, h)

    def skip(self, block, h, s):
        return self.note("skip", block, torch.cat([h, s], 1))

    def cross(self, block, h):
        return h

    @torch.no_grad()
    def calibrate(self):
        """Lets every ZeroSFT start near the identity: its norm's weight and bias give back what the norm took."""
        for index, stats in self.seen.items():
            mean, std = torch.stack(stats).mean(0)
            norm = self.connectors[index].param_free_norm
            n = norm.num_channels // norm.num_groups
            norm.weight.copy_(std.repeat_interleave(n))
            norm.bias.copy_(mean.repeat_interleave(n))
