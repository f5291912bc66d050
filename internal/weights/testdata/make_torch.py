#!/usr/bin/env python3
"""Write the small PyTorch checkpoints that the tests read, and torch.safetensors
with what each must hold, under "<file>:<tensor>".

    python make_torch.py     # PyTorch 2, safetensors and omegaconf

Seeded: another run gives the same tensors (PyTorch stamps the archives).
"""
import argparse
import collections
import datetime
import os
import pathlib

import numpy
import omegaconf
import torch
from safetensors.torch import save_file

here = os.path.dirname(os.path.abspath(__file__))
torch.manual_seed(5)
want = {}


def save(name, tensors, wrap=lambda d: d, **options):
    torch.save(wrap(tensors), os.path.join(here, name), **options)
    for key, t in tensors.items():
        if torch.is_tensor(t):
            want[f"{name}:{key}"] = t.detach().clone().contiguous()


# A module's state_dict: an OrderedDict with versions as further state.
net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.GroupNorm(2, 4), torch.nn.BatchNorm2d(4))
save("module.pth", net.state_dict())

# All types that are read.
types = {str(t).split(".")[1]: (torch.randn(2, 3) * 50).to(t) for t in (
    torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.int16, torch.int32, torch.int64)}
types["uint8"] = torch.arange(6, dtype=torch.uint8)
types["bool"] = torch.tensor([True, False])
save("types.bin", types)
save("protocol4.bin", types, pickle_protocol=4)

# Views: shared storages, offsets, strides, zero strides.
base = torch.randn(4, 6)
conv = torch.randn(2, 3, 4, 5)
views = {
    "base": base, "transposed": base.t(), "rows": base[1:3], "columns": base[:, 1:5:2], "element": base[2, 3],
    "expanded": base[:1].expand(3, 6), "channels_last": conv.to(memory_format=torch.channels_last),
    "permuted": conv.permute(3, 1, 0, 2), "empty": torch.empty(0, 3), "scalar": torch.tensor(2.5),
    "parameter": torch.nn.Parameter(torch.randn(3)), "alias": base,
}
save("views.pth", views)

# A checkpoint of training, with tensors nested under state_dict.
w = torch.nn.Parameter(torch.randn(3, 2))
adam = torch.optim.Adam([w], lr=1e-3)
w.sum().backward()
adam.step()
save("training.pt", {"model.w": w.detach().half(), "model.b": torch.randn(2).bfloat16(), "steps": 7, "none": None},
     lambda d: {"epoch": 3, "global_step": 10**12, "pytorch-lightning_version": "1.9", "lr": 1e-3, "huge": 2**80, "flag": True,
                "state_dict": d, "optimizer_states": [adam.state_dict()], "lr_schedulers": [], "callbacks": {"a": (1, 2), "b": {3}},
                "loops": None, "hyper_parameters": collections.OrderedDict(x=[1, 2.5], y=collections.defaultdict(dict)),
                "rng": torch.get_rng_state()[:16], "device": torch.device("cpu"), "dtype": torch.float16, "size": torch.Size([1, 2])})

# As torch.save wrote before 1.6.
save("legacy.pth", {"a": base.half(), "t": base.t(), "again": base}, _use_new_zipfile_serialization=False)

save("legacy4.pth", {"a": base.half(), "t": base.t(), "again": base}, _use_new_zipfile_serialization=False, pickle_protocol=4)

# What trainers' frameworks keep beside the weights.
for protocol in 2, 5:
    save(f"bookkeeping{protocol}.pt", {"w": base}, lambda d: {
        "state_dict": d, "args": argparse.Namespace(lr=1e-4, out=pathlib.Path("x")), "started": datetime.datetime(2023, 7, 26),
        "took": datetime.timedelta(hours=3), "scores": numpy.arange(4.0), "best": numpy.float64(0.5), "rows": numpy.ones((2, 3)).T,
        "rng": numpy.random.RandomState(1).get_state(), "config": omegaconf.OmegaConf.create({"a": [1, 2.5, {"b": "c"}]}),
    }, pickle_protocol=protocol)

save_file({k: v for k, v in want.items()}, os.path.join(here, "torch.safetensors"))

# What must not be read.
torch.save(net, os.path.join(here, "whole_module.pth"))
torch.jit.script(torch.nn.Linear(2, 2)).save(os.path.join(here, "script.pth"))
torch.save({"a": torch.zeros(2, dtype=torch.complex64)}, os.path.join(here, "complex.pth"))
torch.save({"a": torch.zeros(4).to(torch.float8_e4m3fn)}, os.path.join(here, "float8.pth"))
torch.save({"a": torch._neg_view(torch.zeros(4))}, os.path.join(here, "negated.pth"))
