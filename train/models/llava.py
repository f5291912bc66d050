"""LLaVA-1.5 in miniature: CLIP's vision tower, two linears, a LLaMA. Modules are named as in llama.cpp's GGUF files.

The tower holds the layers that are used alone, so that its last layer's output is what LLaVA takes: CLIP's last but
one. Rotary positions turn features 2i and 2i + 1 together, the form in which GGUF files hold `attn_q` and `attn_k`,
so that nothing has to be permuted.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

MEAN = (0.48145466, 0.4578275, 0.40821073)  # CLIP's, of pixels in [0, 1]
STD = (0.26862954, 0.26130258, 0.27577711)


def heads(x, n):
    """(N, T, C) -> (N, n, T, C/n)"""
    return x.view(*x.shape[:2], n, -1).transpose(1, 2)


def attend(q, k, v, causal=False):
    """Attention written out: for so few tokens twice as fast as PyTorch's own on a CPU, where it is learned."""
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if causal:
        scores = scores + torch.full(scores.shape[-2:], float("-inf"), dtype=scores.dtype, device=q.device).triu(1)
    return scores.softmax(-1).to(v.dtype) @ v


class VisionBlock(nn.Module):
    """One layer of the tower: (N, T, C) -> (N, T, C)"""

    def __init__(self, c, count, hidden):
        super().__init__()
        self.count = count
        self.ln1, self.ln2 = nn.LayerNorm(c, eps=1e-5), nn.LayerNorm(c, eps=1e-5)
        self.attn_q, self.attn_k, self.attn_v, self.attn_out = (nn.Linear(c, c) for _ in range(4))
        self.ffn_up, self.ffn_down = nn.Linear(c, hidden), nn.Linear(hidden, c)

    def forward(self, x):
        n = self.ln1(x)
        q, k, v = (heads(f(n), self.count) for f in (self.attn_q, self.attn_k, self.attn_v))
        y = attend(q, k, v)
        x = x + self.attn_out(y.transpose(1, 2).flatten(2))
        n = self.ffn_up(self.ln2(x))
        return x + self.ffn_down(n * torch.sigmoid(1.702 * n))  # quick GELU


class Vision(nn.Module):
    """(N, 3, size, size) normalised -> (N, patches, C)"""

    def __init__(self, size, patch, c, layers, count, hidden):
        super().__init__()
        self.patch_embd = nn.Conv2d(3, c, patch, patch, bias=False)
        self.class_embd = nn.Parameter(0.02 * torch.randn(c))
        self.position_embd = nn.Embedding(1 + (size // patch) ** 2, c)
        self.pre_ln = nn.LayerNorm(c, eps=1e-5)
        self.blk = nn.ModuleList([VisionBlock(c, count, hidden) for _ in range(layers)])
        self.position_embd.weight.data.copy_(waves(size // patch, c))

    @torch.no_grad()
    def start(self, pixels):
        """Lets patch_embd start as the principal components of patches of normalised pictures (N, 3, size, size), each
        of deviation one or less, rather than at random."""
        x = F.unfold(pixels, self.patch_embd.kernel_size, stride=self.patch_embd.stride).transpose(1, 2).flatten(0, 1)
        values, vectors = torch.linalg.eigh((x - x.mean(0)).T @ (x - x.mean(0)) / len(x))
        c = min(self.patch_embd.out_channels, len(values))
        w = vectors.flip(1)[:, :c].T * (values.flip(0)[:c, None] + 0.01).rsqrt()
        self.patch_embd.weight[:c] = w.view(c, *self.patch_embd.weight.shape[1:])

    def forward(self, x):
        x = self.patch_embd(x).float().flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embd.expand(len(x), 1, -1), x], 1) + self.position_embd.weight
        x = self.pre_ln(x)
        for b in self.blk:
            x = b(x)
        return x[:, 1:]


def waves(side, c):
    """Places on a grid as sines and cosines of both coordinates: (1 + side * side, C), the class token's are zero."""
    n = c // 4
    angle = torch.arange(side)[:, None] * torch.logspace(0, -1, n)  # from one radian a patch to a tenth
    one = torch.cat([angle.sin(), angle.cos()], 1)
    out = torch.cat([one[:, None].expand(-1, side, -1), one[None].expand(side, -1, -1)], -1).flatten(0, 1)
    return F.pad(out, (0, c - 4 * n, 1, 0))


def turn(x):
    """Rotary positions 0, 1, ...: (N, n, T, D) -> (N, n, T, D)"""
    d, t = x.shape[-1], x.shape[-2]
    angle = torch.arange(t, device=x.device)[:, None] * 10000.0 ** (-torch.arange(0, d, 2, device=x.device) / d)
    a, b, c, s = x[..., ::2].float(), x[..., 1::2].float(), angle.cos(), angle.sin()
    return torch.stack([a * c - b * s, a * s + b * c], -1).flatten(-2).to(x.dtype)


class Layer(nn.Module):
    """One layer of the language model: (N, T, C) -> (N, T, C)"""

    def __init__(self, c, count, hidden):
        super().__init__()
        self.count = count
        self.attn_norm, self.ffn_norm = nn.RMSNorm(c, eps=1e-5), nn.RMSNorm(c, eps=1e-5)
        self.attn_q, self.attn_k, self.attn_v, self.attn_output = (nn.Linear(c, c, bias=False) for _ in range(4))
        self.ffn_gate, self.ffn_up = nn.Linear(c, hidden, bias=False), nn.Linear(c, hidden, bias=False)
        self.ffn_down = nn.Linear(hidden, c, bias=False)

    def forward(self, x):
        n = self.attn_norm(x)
        q, k, v = (heads(f(n), self.count) for f in (self.attn_q, self.attn_k, self.attn_v))
        y = attend(turn(q), turn(k), v, causal=True)
        x = x + self.attn_output(y.transpose(1, 2).flatten(2))
        n = self.ffn_norm(x)
        return x + self.ffn_down(F.silu(self.ffn_gate(n)) * self.ffn_up(n))


class Text(nn.Module):
    """(N, T, C) embeddings -> (N, T, ids) logits; the head is the embedding's transpose."""

    def __init__(self, ids, c, layers, count, hidden):
        super().__init__()
        self.token_embd = nn.Embedding(ids, c)
        self.blk = nn.ModuleList([Layer(c, count, hidden) for _ in range(layers)])
        self.output_norm = nn.RMSNorm(c, eps=1e-5)
        nn.init.normal_(self.token_embd.weight, std=c ** -0.5)

    def forward(self, x):
        for b in self.blk:
            x = b(x)
        return F.linear(self.output_norm(x), self.token_embd.weight)


class LLaVA(nn.Module):
    """v, mm, and the text model, with the ids of the prompt before and after the picture.

    tower: width, layers, heads and the MLP's width of the tower; text: the same of the language model.
    """

    def __init__(self, ids, before, after, size=96, patch=16, tower=(96, 3, 3, 288), text=(96, 2, 3, 192)):
        super().__init__()
        self.config = dict(ids=ids, before=before, after=after, size=size, patch=patch, tower=tuple(tower), text=tuple(text))
        self.size = size
        self.v = Vision(size, patch, *tower)
        self.mm = nn.Sequential(nn.Linear(tower[0], text[0]), nn.GELU(), nn.Linear(text[0], text[0]))
        self.text = Text(ids, *text)
        self.register_buffer("before", torch.tensor(before), persistent=False)
        self.register_buffer("after", torch.tensor(after), persistent=False)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)
        for m in self.modules():
            if isinstance(m, nn.Linear):
                nn.init.normal_(m.weight, std=m.in_features ** -0.5)
                if m.bias is not None:
                    nn.init.zeros_(m.bias)
        for blocks, names in ((self.v.blk, ("attn_out", "ffn_down")), (self.text.blk, ("attn_output", "ffn_down"))):
            for b in blocks:
                for name in names:
                    getattr(b, name).weight.data.mul_((2 * len(blocks)) ** -0.5)

    def see(self, pixels):
        """(N, 3, size, size) in [0, 1] -> the tower's features (N, patches, C)"""
        return self.v((pixels - self.mean) / self.std)

    def forward(self, features, answers):
        """Logits of what follows the prompt, and of what follows each id of the answers (N, T): (N, 1 + T, ids)"""
        n, embed = len(features), self.text.token_embd
        picture = self.mm(features).float()
        x = torch.cat([embed(self.before).expand(n, -1, -1), picture,
                       embed(self.after).expand(n, -1, -1), embed(answers)], 1)
        start = len(self.before) + picture.shape[1] + len(self.after) - 1
        return self.text(x)[:, start:]

    @torch.no_grad()
    def write(self, pixels, end, most=40):
        """Greedy answers: a list of ids for each picture, without the end."""
        features = self.see(pixels)
        ids = torch.zeros(len(pixels), 0, dtype=torch.long, device=pixels.device)
        for _ in range(most):
            ids = torch.cat([ids, self(features, ids)[:, -1:].argmax(-1)], 1)
            if (ids == end).any(1).all():
                break
        return [row[:row.index(end)] if end in row else row for row in ids.tolist()]
