#!/usr/bin/env python3
"""Compare blocks of SDXL's U-Net: supir, PyTorch and OpenVINO on this processor.

    pip install torch openvino nncf
    make build
    python bench/blocks.py bin/supir > bench/results/NAME.md

Every block has random weights and inputs of the published model's sizes at 1024×1024 pixels, a batch
of two (both prompts). Each way computes the block --runs times after a first one; rounds of all ways
are interleaved, so that what else the machine does meets all of them, and the best counts. The work
(multiplications and additions of matrix products) is counted by supir, the same for all.
"""
import argparse, copy, json, os, platform, statistics, subprocess, sys, time

import torch
from torch import nn
from torch.nn import functional as F

TEXT, CONTEXT, EMB = 77, 2048, 1280


class Attention(nn.Module):
    def __init__(self, c, context):
        super().__init__()
        self.q, self.k, self.v = nn.Linear(c, c, bias=False), nn.Linear(context, c, bias=False), nn.Linear(context, c, bias=False)
        self.out, self.heads = nn.Linear(c, c), c // 64

    def forward(self, x, context):
        q, k, v = (t.unflatten(2, (self.heads, 64)).transpose(1, 2) for t in (self.q(x), self.k(context), self.v(context)))
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Transformer(nn.Module):
    """Attention among the pixels, attention to the text, a gated feed-forward network."""

    def __init__(self, c):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(c) for _ in range(3))
        self.own, self.cross = Attention(c, c), Attention(c, CONTEXT)
        self.gate, self.ff = nn.Linear(c, 8 * c), nn.Linear(4 * c, c)

    def forward(self, x, text):
        n = self.norms[0](x)
        x = x + self.own(n, n)
        x = x + self.cross(self.norms[1](x), text)
        a, b = self.gate(self.norms[2](x)).chunk(2, -1)
        return x + self.ff(a * F.gelu(b))


class Residual(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(32, c), nn.Conv2d(c, c, 3, padding=1)
        self.emb = nn.Linear(EMB, c)
        self.norm2, self.conv2 = nn.GroupNorm(32, c), nn.Conv2d(c, c, 3, padding=1)

    def forward(self, x, emb):
        h = self.conv1(F.silu(self.norm1(x))) + self.emb(emb)[:, :, None, None]
        return x + self.conv2(F.silu(self.norm2(h)))


def blocks():
    torch.manual_seed(0)
    for c, tokens in ((1280, 1024), (640, 4096)):
        yield f"transformer{c}", Transformer(c), (torch.randn(2, tokens, c), torch.randn(2, TEXT, CONTEXT))
    for c, side in ((640, 64), (320, 128)):
        yield f"resblock{c}", Residual(c), (torch.randn(2, c, side, side), torch.randn(2, EMB))


def timed(f):
    start = time.perf_counter()
    f()
    return time.perf_counter() - start


def torch_ways(module, inputs):
    module = module.eval()
    yield "PyTorch F32", lambda: module(*inputs)
    half, cast = copy.deepcopy(module).bfloat16(), [x.bfloat16() for x in inputs]
    yield "PyTorch BF16", lambda: half(*cast)


def openvino_ways(module, inputs, threads):
    import openvino as ov
    core = ov.Core()
    model = ov.convert_model(module, example_input=inputs)
    config = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    arrays = [x.numpy() for x in inputs]

    def way(m, precision):
        request = core.compile_model(m, "CPU", dict(config, INFERENCE_PRECISION_HINT=precision)).create_infer_request()
        return lambda: request.infer(arrays)

    yield "OpenVINO F32", way(model, "f32")
    try:
        import nncf
    except ImportError:
        print("no nncf: OpenVINO's int8 is left out", file=sys.stderr)
        return
    data = nncf.Dataset([arrays], lambda x: x)
    quantised = nncf.quantize(ov.convert_model(module, example_input=inputs), data, subset_size=1,
                              model_type=nncf.ModelType.TRANSFORMER if hasattr(module, "norms") else None)
    yield "OpenVINO int8", way(quantised, "f32")


def supir(binary, name, precision, threads, runs):
    out = subprocess.run([binary, "bench", name, "--type", precision, "--threads", str(threads), "--runs", str(runs), "--json"],
                         capture_output=True, text=True)
    if out.returncode:
        sys.exit(out.stderr)
    report = json.loads(out.stdout)
    return report, report["parts"][0]


def processor():
    try:
        for line in open("/proc/cpuinfo"):
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("supir", help="the command, such as bin/supir")
    a.add_argument("--threads", type=int, default=os.cpu_count())
    a.add_argument("--rounds", type=int, default=3)
    a.add_argument("--runs", type=int, default=3, help="in each round")
    a.add_argument("--only", help="one block")
    o = a.parse_args()
    torch.set_num_threads(o.threads)
    rows, kernels = [], ""
    for name, module, inputs in blocks():
        if o.only and name != o.only:
            continue
        with torch.inference_mode():
            ways = dict(torch_ways(module, inputs))
            try:
                ways.update(openvino_ways(module, inputs, o.threads))
            except ImportError:
                print("no openvino: left out", file=sys.stderr)
            times, tflop = {}, 0
            for _ in range(o.rounds):
                for precision in ("f32", "bf16", "int8"):
                    report, part = supir(o.supir, name, precision, o.threads, o.runs)
                    kernels, tflop = report["kernels"], part["tflop"]
                    times.setdefault("supir " + precision, []).append(part["seconds_minimum"])
                for way, f in ways.items():
                    f()
                    times.setdefault(way, []).extend(timed(f) for _ in range(o.runs))
        best = min(min(t) for w, t in times.items() if w.startswith("PyTorch"))
        for way, t in times.items():
            rows.append((name, way, 1e3 * min(t), 1e3 * statistics.median(t), 1e3 * tflop / min(t), best / min(t)))
    print(f"# Blocks on {processor()}, {o.threads} threads\n")
    if o.only:
        print(f"({o.only} alone.)")
    print(f"`python bench/blocks.py`, {time.strftime('%Y-%m-%d')}; PyTorch {torch.__version__}; supir's kernels: {kernels or 'none'}.")
    print("Milliseconds, the best and the median; GFLOP/s of the best; last, how many times as fast as PyTorch's best type.\n")
    print("| block | with | ms | median | GFLOP/s | × PyTorch |\n|---|---|---:|---:|---:|---:|")
    for name, way, low, median, rate, ratio in rows:
        print(f"| {name} | {way} | {low:.1f} | {median:.1f} | {rate:.0f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
