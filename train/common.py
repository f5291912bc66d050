"""What every stage shares: arguments, the resumable loop, weight averages, pictures to tensors."""
import argparse
import json
import math
import os
import pickle
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from . import weights

SCALE = 0.13025  # SDXL's latent scale; the exported quant_conv makes 0.13025 * mean of unit deviation


def arguments(stage, minutes, lr, batch):
    """The options of every stage; a stage adds its own."""
    ap = argparse.ArgumentParser(description=stage)
    ap.add_argument("--run", type=Path, required=True, help="folder of scenes, checkpoints and logs")
    ap.add_argument("--minutes", type=float, default=minutes, help="budget of training time, resumes included")
    ap.add_argument("--iters", type=int, default=10 ** 9, help="or of iterations, whichever ends first")
    ap.add_argument("--lr", type=float, default=lr)
    ap.add_argument("--batch", type=int, default=batch)
    ap.add_argument("--device", default="cpu")
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--bf16", action="store_true", help="bfloat16 activations")
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--name", default=stage, help="the checkpoint's name")
    return ap


def save_atomic(obj, path):
    """torch.save to a temporary file, then renamed: a kill leaves the old or the new file, never half of one."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    tmp = path.with_suffix(".tmp")
    torch.save(obj, tmp)
    os.replace(tmp, path)


def load(path, device="cpu"):
    """What a checkpoint holds."""
    try:
        return torch.load(path, map_location=device, weights_only=False)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as e:
        raise weights.FileError(f"{path}: no checkpoint that can be read ({str(e).splitlines()[0]})") from e


def load_mean(module, name, checkpoints):
    """Gives a module the mean of what checkpoints, (path, contents) each, hold under a name; each must be of its shape."""
    states = [c["model"][name] for _, c in checkpoints]
    for (path, _), s in zip(checkpoints, states):
        weights.load(module, s, path)
    module.load_state_dict({k: sum(s[k] for s in states) / len(states) for k in module.state_dict()})


def exported(folder, prefix):
    """The weights under a public prefix of a model in a folder, by module name."""
    return {k[len(prefix):]: v.float() for k, v in weights.read_folder(folder)[0].items() if k.startswith(prefix)}


def start_from(folder, modules):
    """Loads the weights of a folder's model into modules, given by their public prefixes; what it lacks keeps its
    start."""
    tensors, _ = weights.read_folder(folder)
    for prefix, module in modules.items():
        own = module.state_dict()
        weights.load(module, {k: tensors[prefix + k].float() if prefix + k in tensors else v for k, v in own.items()}, folder)


class Average:
    """Exponential moving average of a module's parameters; a warm-up lets it forget the start."""

    def __init__(self, params, decay=0.999):
        self.decay, self.steps = decay, 0
        self.params = list(params)
        self.shadow = [p.detach().clone() for p in self.params]

    @torch.no_grad()
    def update(self):
        self.steps += 1
        d = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.shadow, [p.detach() for p in self.params], 1 - d)

    @torch.no_grad()
    def swap(self):
        """Exchanges the parameters and their averages; call again to undo."""
        for p, s in zip(self.params, self.shadow):
            t = p.detach().clone()
            p.copy_(s)
            s.copy_(t)


class Balance:
    """Lets every noise level count alike: divides a sample's squared error by what is usual at its index.

    Of eps at high noise next to nothing is unknown (1 % and less), so that plain means leave no gradient where the
    picture as a whole is decided, and with it all that a caption tells.
    """

    def __init__(self, extra, buckets=20):
        self.usual = extra.setdefault("balance", torch.ones(buckets))

    def __call__(self, each, t):
        """each (N,) squared errors, t (N,) indices below 1000 -> their balanced mean"""
        b = (t.cpu() * len(self.usual)) // 1000
        for i, e in zip(b.tolist(), each.detach().float().cpu()):
            self.usual[i].lerp_(e, 0.02 if self.usual[i] < 1 else 0.5)
        return (each / self.usual[b].to(each)).mean()


class Stage:
    """A training loop that can be killed at any moment and continues from its last checkpoint.

    modules: name -> module, trained together. The rate follows a warm-up and a cosine over the budget. Under
    torchrun the processes share each iteration: --batch is divided among them and gradients are averaged; the
    first one keeps time, evaluates and saves.
    """

    def __init__(self, args, modules, decay=0.999, weight_decay=0.01, betas=(0.9, 0.99), optimizer=torch.optim.AdamW):
        torch.set_num_threads(args.threads)
        torch.manual_seed(args.seed)
        self.args, self.modules = args, modules
        self.path = args.run / f"{args.name}.pt"
        self.log_path = args.run / "logs" / f"{args.name}.jsonl"
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        params = [p for m in modules.values() for p in m.parameters() if p.requires_grad]
        self.opt = optimizer(params, lr=args.lr, betas=betas, weight_decay=weight_decay, fused=True)
        self.average = Average(params, decay)
        self.params = params
        self.iter, self.elapsed, self.pending, self.extra = 0, 0.0, 0.0, {}
        self.rng = np.random.default_rng(args.seed)
        self.rank, self.world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        if self.path.exists():
            self.restore()
        if self.world > 1:
            dist.init_process_group("gloo")
            args.batch = max(1, args.batch // self.world)
            if self.rank:
                torch.manual_seed(args.seed + 7919 * self.rank + self.iter)
                self.rng = np.random.default_rng((args.seed, self.rank, self.iter))

    def share(self):
        """Averages the gradients over the processes and tells all the first one's clock."""
        clock = torch.tensor([(self.elapsed + self.pending) * self.world if self.rank == 0 else 0.0])
        flat = torch.cat([clock, *[(p.grad if p.grad is not None else torch.zeros_like(p)).flatten()
                                   for p in self.params]])
        dist.all_reduce(flat)
        flat /= self.world
        self.elapsed, self.pending, i = float(flat[0]), 0.0, 1
        for p in self.params:
            p.grad = torch.empty_like(p).copy_(flat[i:i + p.numel()].view_as(p))
            i += p.numel()

    def restore(self):
        s = load(self.path)
        for k, m in self.modules.items():
            weights.load(m, s["raw"][k], self.path)
        self.opt.load_state_dict(s["opt"])
        self.average.steps = s["average_steps"]
        named = [s["model"][k][n] for k, m in self.modules.items()
                 for n, p in m.named_parameters() if p.requires_grad]
        for a, v in zip(self.average.shadow, named):
            a.copy_(v)
        self.iter, self.elapsed, self.extra = s["iter"], s["elapsed"], s["extra"]
        torch.set_rng_state(s["torch_rng"])
        self.rng.bit_generator.state = s["numpy_rng"]
        print(f"resumed at iteration {self.iter}, {self.elapsed / 60:.1f} min", flush=True)

    def save(self):
        raw = {k: {n: t.clone() for n, t in m.state_dict().items()} for k, m in self.modules.items()}
        self.average.swap()
        model = {k: {n: t.clone() for n, t in m.state_dict().items()} for k, m in self.modules.items()}
        self.average.swap()
        save_atomic(dict(raw=raw, model=model, opt=self.opt.state_dict(), average_steps=self.average.steps,
                         iter=self.iter, elapsed=self.elapsed, extra=self.extra, torch_rng=torch.get_rng_state(),
                         numpy_rng=self.rng.bit_generator.state), self.path)

    def progress(self):
        """0 at the start, 1 at the end of the budget."""
        return min(1.0, max(self.elapsed / (60 * self.args.minutes), self.iter / self.args.iters))

    def run(self, step, evaluate=None, save_every=60, evaluate_every=120):
        """step() returns a loss tensor and a dict of numbers; evaluate() a dict, with averaged weights in place."""
        a, last_save, last_eval, sums, n = self.args, time.time(), time.time(), {}, 0
        while self.progress() < 1:
            t = time.time()
            p = self.progress()
            rate = min(1, (self.iter + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * p)))
            for g in self.opt.param_groups:
                g["lr"] = a.lr * rate
            with torch.autocast(a.device, torch.bfloat16, enabled=a.bf16):
                loss, numbers = step()
            loss.backward()
            if self.world > 1:
                self.share()
            norm = torch.nn.utils.clip_grad_norm_(self.params, 1.0)
            if torch.isfinite(norm):
                self.opt.step()
                self.average.update()
            self.opt.zero_grad(set_to_none=True)
            self.iter += 1
            if self.world > 1:  # counted for all in the next share
                self.pending += time.time() - t
            else:
                self.elapsed += time.time() - t
            n += 1
            for k, v in numbers.items():
                sums[k] = sums.get(k, 0.0) + float(v)
            done = self.progress() >= 1
            if self.rank:
                continue
            if evaluate and (time.time() - last_eval > evaluate_every or done):
                self.average.swap()
                with torch.no_grad():
                    result = evaluate()
                self.average.swap()
                self.report({k: v / n for k, v in sums.items()} | result)
                sums, n, last_eval = {}, 0, time.time()
            elif n >= 200:
                self.report({k: v / n for k, v in sums.items()})
                sums, n = {}, 0
            if time.time() - last_save > save_every or done:
                try:
                    self.save()
                except (OSError, RuntimeError) as e:  # a full disk must not end a long run
                    if done:
                        raise
                    print(f"not saved: {e}", flush=True)
                last_save = time.time()

    def report(self, numbers):
        row = {"iter": self.iter, "min": round(self.elapsed / 60, 2)} | {k: round(v, 5) for k, v in numbers.items()}
        print(json.dumps(row), flush=True)
        with open(self.log_path, "a") as f:
            f.write(json.dumps(row) + "\n")


def to_tensor(u8):
    """uint8 (N, H, W, 3) or (H, W, 3) -> float (N, 3, H, W) in [-1, 1], channels last in memory."""
    x = torch.from_numpy(np.array(u8))
    x = (x[None] if x.ndim == 3 else x).permute(0, 3, 1, 2)
    return (x.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def to_u8(x):
    """float (N, 3, H, W) in [-1, 1] -> uint8 (N, H, W, 3)."""
    return ((x.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def random_crops(rng, scenes, count, size):
    """uint8 (count, size, size, 3): places, flips, turns, halvings and swapped colours at random."""
    out = np.empty((count, size, size, 3), np.uint8)
    side = scenes.shape[1]
    for i in range(count):
        s = 2 if 2 * size <= side and rng.random() < 0.3 else 1
        y, x = rng.integers(0, side - s * size + 1, 2)
        c = scenes[rng.integers(len(scenes)), y:y + s * size, x:x + s * size]
        if s == 2:
            c = (c.reshape(size, 2, size, 2, 3).astype(np.uint16).sum((1, 3)) + 2) // 4
        c = np.rot90(c, rng.integers(4))
        if rng.random() < 0.5:
            c = c[:, ::-1]
        if rng.random() < 0.2:
            c = c[..., rng.permutation(3)]
        out[i] = c
    return out


def photos(folder, size=512):
    """Evaluation only: name -> uint8 (size, size, 3) centre crops."""
    from PIL import Image
    out = {}
    for p in sorted(Path(folder).iterdir()) if folder else []:
        if p.suffix in (".png", ".jpg"):
            im = Image.open(p).convert("RGB")
            left, top = (im.width - size) // 2, (im.height - size) // 2
            out[p.stem] = np.asarray(im.crop((left, top, left + size, top + size)))
    return out


def psnr(a, b):
    """dB between tensors in [-1, 1]."""
    return 10 * math.log10(4 / max(1e-10, float(((a.clamp(-1, 1) - b) ** 2).mean())))
