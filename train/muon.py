"""Muon (K. Jordan 2024) for the matrices and convolutions within a network, AdamW for the rest: learns from fewer
samples than AdamW alone. Muon's steps have the size of AdamW's (Liu et al. 2025), so that one rate suits both.
"""
import functools

import torch

# Parts of names of what AdamW moves: the networks' ends, and what is looked up in tables.
ENDS = ("input_blocks.0.", "out.2.", "conv_in.", "conv_out.", "input_hint_block.", "time_embed.", "label_emb.", "embd", "embedding")


def of(modules, bf16=False):
    """The optimizer for common.Stage that moves the inner matrices of modules (name -> module) by Muon, whose products
    may be taken in bfloat16."""
    return functools.partial(Muon, [p for m in modules.values() for name, p in m.named_parameters()
                                    if p.ndim >= 2 and p.requires_grad and not any(end in name for end in ENDS)], bf16=bf16)


def orthogonal(g, steps=5):
    """Batched matrices (N, r, c) -> about U V' of each U S V': five of Newton and Schulz's iterations."""
    tall = g.shape[1] > g.shape[2]
    x = g.mT if tall else g
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.mT if tall else x


class Directions(torch.optim.Optimizer):
    """Muon itself: momentum made orthogonal. A convolution (out, in, k, k) is the matrix (out, in k k)."""

    def __init__(self, params, lr, weight_decay=0.0, momentum=0.95, bf16=False):
        super().__init__(params, dict(lr=lr, weight_decay=weight_decay, momentum=momentum))
        self.dtype = torch.bfloat16 if bf16 else torch.float32

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            alike = {}
            for p in group["params"]:
                if p.grad is None:
                    continue
                g = p.grad.flatten(1)
                m = self.state[p].setdefault("momentum", torch.zeros_like(g))
                m.lerp_(g, 1 - group["momentum"])
                alike.setdefault(g.shape, []).append((p, g.lerp(m, group["momentum"])))
            for (r, c), ones in alike.items():
                moves = orthogonal(torch.stack([g for _, g in ones]).to(self.dtype))
                for (p, _), move in zip(ones, moves):
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.add_(move.view(p.shape).to(p), alpha=-0.2 * max(r, c) ** 0.5 * group["lr"])


class Muon:
    """Both as one optimizer of common.Stage; `matrices` are Muon's parameters."""

    def __init__(self, matrices, params, lr, weight_decay, bf16=False, **adamw):
        ids = {id(p) for p in matrices}
        self.parts = (Directions(matrices, lr, weight_decay, bf16=bf16),
                      torch.optim.AdamW([p for p in params if id(p) not in ids], lr=lr, weight_decay=weight_decay, **adamw))

    @property
    def param_groups(self):
        return [g for o in self.parts for g in o.param_groups]

    def step(self):
        for o in self.parts:
            o.step()

    def zero_grad(self, set_to_none=True):
        for o in self.parts:
            o.zero_grad(set_to_none)

    def state_dict(self):
        return [o.state_dict() for o in self.parts]

    def load_state_dict(self, states):
        for o, s in zip(self.parts, states):
            o.load_state_dict(s)
