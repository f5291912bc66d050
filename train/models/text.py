"""The two text encoders: Hugging Face's layout of CLIP-L and open_clip's of bigG, both small."""
import torch
import torch.nn as nn
import torch.nn.functional as F


def attend(q, k, v, heads):
    """(N, T, C) each, causal."""
    n, t, c = q.shape
    q, k, v = (x.view(n, t, heads, c // heads).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(n, t, c)


class SelfAttentionL(nn.Module):
    def __init__(self, c, heads):
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(c, c) for _ in range(4))

    def forward(self, x):
        return self.out_proj(attend(self.q_proj(x), self.k_proj(x), self.v_proj(x), self.heads))


class MLP(nn.Module):
    """fc1, quick GELU, fc2."""

    def __init__(self, c):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(c, 4 * c), nn.Linear(4 * c, c)

    def forward(self, x):
        h = self.fc1(x)
        return self.fc2(h * torch.sigmoid(1.702 * h))


class LayerL(nn.Module):
    def __init__(self, c, heads):
        super().__init__()
        self.layer_norm1, self.self_attn = nn.LayerNorm(c), SelfAttentionL(c, heads)
        self.layer_norm2, self.mlp = nn.LayerNorm(c), MLP(c)

    def forward(self, x):
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class TextL(nn.Module):
    """text_model: ids (N, 77) -> hidden state before the last layer (N, 77, C), no final norm.

    The last layer and the final norm belong to the layout and are never used.
    """

    def __init__(self, vocabulary, c=40, layers=3, heads=2, length=77):
        super().__init__()
        self.embeddings = nn.ModuleDict(dict(token_embedding=nn.Embedding(vocabulary, c),
                                             position_embedding=nn.Embedding(length, c)))
        self.encoder = nn.ModuleDict(dict(layers=nn.ModuleList([LayerL(c, heads) for _ in range(layers)])))
        self.final_layer_norm = nn.LayerNorm(c)
        for e in self.embeddings.values():
            nn.init.normal_(e.weight, std=0.1)

    def forward(self, ids):
        x = self.embeddings["token_embedding"](ids) + self.embeddings["position_embedding"].weight[:ids.shape[1]]
        for layer in self.encoder["layers"][:-1]:
            x = layer(x)
        return x


class MultiheadG(nn.Module):
    def __init__(self, c, heads):
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * c, c))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * c))
        self.out_proj = nn.Linear(c, c)
        nn.init.normal_(self.in_proj_weight, std=c ** -0.5)

    def forward(self, x):
        q, k, v = F.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, -1)
        return self.out_proj(attend(q, k, v, self.heads))


class BlockG(nn.Module):
    def __init__(self, c, heads):
        super().__init__()
        self.ln_1, self.attn, self.ln_2 = nn.LayerNorm(c), MultiheadG(c, heads), nn.LayerNorm(c)
        self.mlp = nn.ModuleDict(dict(c_fc=nn.Linear(c, 4 * c), c_proj=nn.Linear(4 * c, c)))

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp["c_proj"](F.gelu(self.mlp["c_fc"](self.ln_2(x))))


class TextG(nn.Module):
    """ids (N, 77) -> hidden state before the last block (N, 77, C), pooled (N, P)"""

    def __init__(self, vocabulary, c=48, layers=3, heads=2, pooled=48, length=77):
        super().__init__()
        self.token_embedding = nn.Embedding(vocabulary, c)
        self.positional_embedding = nn.Parameter(0.1 * torch.randn(length, c))
        self.transformer = nn.ModuleDict(dict(resblocks=nn.ModuleList([BlockG(c, heads) for _ in range(layers)])))
        self.ln_final = nn.LayerNorm(c)
        self.text_projection = nn.Parameter(torch.randn(c, pooled) * c ** -0.5)
        nn.init.normal_(self.token_embedding.weight, std=0.1)

    def forward(self, ids):
        x = self.token_embedding(ids) + self.positional_embedding[:ids.shape[1]]
        blocks = self.transformer["resblocks"]
        for block in blocks[:-1]:
            x = block(x)
        last = self.ln_final(blocks[-1](x))
        pooled = last[torch.arange(len(ids), device=ids.device), ids.argmax(-1)] @ self.text_projection
        return x, pooled


class Text(nn.Module):
    """Both encoders: prompts to the U-Net's context and pooled vector."""

    def __init__(self, vocabulary, end, **sizes):
        super().__init__()
        self.config = dict(vocabulary=vocabulary, end=end, **sizes)
        self.end = end
        self.l = TextL(vocabulary, sizes["l"], sizes["layers"], sizes["heads"])
        self.g = TextG(vocabulary, sizes["g"], sizes["layers"], sizes["heads"], sizes["pooled"])

    def forward(self, ids_l, ids_g):
        """-> context (N, 77, L + G), pooled (N, P)"""
        hidden, pooled = self.g(ids_g)
        return torch.cat([self.l(ids_l), hidden], -1), pooled

    def tokens(self, tokenizer, prompts, device="cpu"):
        """CLIP-L pads with the end id, bigG with 0."""
        return tuple(torch.tensor([tokenizer.encode(p, pad) for p in prompts], device=device) for pad in (self.end, 0))
