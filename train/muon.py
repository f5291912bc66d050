"""Muon (K. Jordan 2024) for the matrices of transformers, AdamW for the rest: learns from fewer samples than AdamW
alone. Muon's steps have the size of AdamW's (Liu et al. 2025), so that one rate suits both.
"""
import torch


class Muon:
    """Both as one optimizer of common.Stage; `matrices` are Muon's parameters."""

    def __init__(self, matrices, params, lr, weight_decay, **adamw):
        ids = {id(p) for p in matrices}
        self.parts = (torch.optim.Muon(matrices, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"),
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
