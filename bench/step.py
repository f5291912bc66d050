#!/usr/bin/env python3
"""Compare a whole step of sampling, full size, both prompts: supir and PyTorch on this processor.

    make build
    python bench/step.py bin/supir --types bf16

Random weights of the published model's sizes; the PyTorch networks are those of train/models, with PyTorch's own
attention. Both take turns; the best counts. A step in F32 takes 15 GB of memory, in BF16 half of that. Run it from the
repository's root.
"""
import argparse, gc, json, os, statistics, subprocess, sys, time

import torch
from torch.nn import functional as F

sys.path.insert(0, os.getcwd())
from bench.blocks import processor, timed
from train.models import adaptor, unet

CONFIG = dict(channels=320, mult=(1, 2, 4), depth=(0, 2, 10), middle=10, blocks=2, head_dim=64, groups=32, context=2048,
              pooled=1280, size_dim=256, z=4)


def step(dtype, size):
    """A function that computes one step."""
    side, sinusoid = size // 8, unet.sinusoid
    unet.attend = F.scaled_dot_product_attention
    unet.sinusoid = lambda v, d: sinusoid(v, d).to(dtype)
    torch.set_default_dtype(dtype)
    with torch.device("meta"):
        u = unet.UNet(**CONFIG)
        networks = [u, adaptor.Adaptor(**CONFIG), adaptor.Connectors(u, 32, 64, 128)]
    u, a, c = (n.to_empty(device="cpu").eval() for n in networks)
    some = torch.empty(1 << 20).uniform_(-(3 ** 0.5), 3 ** 0.5)  # enough: no weight meets another
    for n in (u, a, c):
        for p in n.parameters():
            p.requires_grad_(False)
            fan = p[0].numel() if p.dim() > 1 else 400
            for part in p.as_strided((p.numel(),), (1,)).split(len(some)):
                torch.mul(some[:len(part)], fan ** -0.5, out=part)
    x, lq = (torch.randn(2, 4, side, side).to(memory_format=torch.channels_last) for _ in range(2))
    context, pooled, t = torch.randn(2, 77, 2048), torch.randn(2, 1280), torch.tensor([500, 500])
    return lambda: u(x, t, context, pooled, c.bind(a(x, lq, t, context, pooled)))


def supir(binary, size, threads, runs):
    out = subprocess.run([binary, "bench", "step", "--size", str(size), "--threads", str(threads), "--runs", str(runs), "--json"],
                         capture_output=True, text=True)
    if out.returncode:
        sys.exit(out.stderr)
    return json.loads(out.stdout)["parts"][0]


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("supir", help="the command, such as bin/supir")
    a.add_argument("--types", default="bf16", help="PyTorch's: bf16, f32 or both, with a comma")
    a.add_argument("--size", type=int, default=512)
    a.add_argument("--threads", type=int, default=os.cpu_count())
    a.add_argument("--runs", type=int, default=2, help="before, and of PyTorch, and after")
    o = a.parse_args()
    torch.set_num_threads(o.threads)
    times = {}
    parts = [supir(o.supir, o.size, o.threads, o.runs)]
    for name in o.types.split(","):
        with torch.inference_mode():
            f = step({"bf16": torch.bfloat16, "f32": torch.float32}[name], o.size)
            times[f"PyTorch {name}"] = [timed(f) for _ in range(1 + o.runs)]
            del f
            gc.collect()
    parts.append(supir(o.supir, o.size, o.threads, o.runs))
    best = min(min(t) for t in times.values())
    times["supir " + parts[0]["type"]] = [p[k] for p in parts for k in ("seconds_minimum", "seconds_median")]
    print(f"# A step at {o.size}×{o.size} on {processor()}, {o.threads} threads\n")
    print(f"`python bench/step.py`, {time.strftime('%Y-%m-%d')}; PyTorch {torch.__version__}; {parts[0]['tflop']:.2f} TFLOP.\n")
    print("| with | s | median | GFLOP/s | × PyTorch |\n|---|---:|---:|---:|---:|")
    for way, t in times.items():
        print(f"| {way} | {min(t):.1f} | {statistics.median(t):.1f} | {1e3 * parts[0]['tflop'] / min(t):.0f} | {best / min(t):.2f} |")


if __name__ == "__main__":
    main()
