"""Stage 2: the text-conditioned denoiser, the generative prior, and both text encoders with it.

    python -m train.latents --run RUN --kind target && python -m train.latents --run RUN --kind bad
    python -m train.prior --run RUN --minutes 30 --bf16

eps-prediction at random indices of SDXL's schedule on crops of cached latents. One sample in six is a spoiled
picture with negative quality words.
"""
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from . import common, latents, muon, prompts, schedule, tokenizer, weights
from .models.text import Text
from .models.unet import UNet


def build(merges, latent, a):
    """The networks of this stage."""
    tok = tokenizer.Tokenizer(merges)
    text = Text(tok.size, tok.end, l=a["l"], g=a["g"], layers=3, heads=2, pooled=a["g"])
    unet = UNet(channels=a["channels"], mult=tuple(a["mult"]), head_dim=a["head_dim"], groups=a["groups"],
                context=a["l"] + a["g"], pooled=a["g"], z=latent)
    return tok, text, unet


def crop(rng, z, size):
    """float32 (z, size, size) from float16 (z, H, W), and where it was."""
    y, x = rng.integers(0, z.shape[1] - size + 1, 2)
    return np.asarray(z[:, y:y + size, x:x + size], np.float32), y, x


def crop_size(p, batch):
    """Many small crops first, fewer large ones later, which settle the norms' statistics."""
    return (24, batch) if p < 0.5 else (32, max(1, batch // 2))


def main(argv=None):
    ap = common.arguments("prior", minutes=30, lr=5e-3, batch=16)
    for name, value in dict(l=32, g=40, channels=32, head_dim=32, groups=4, merges=520).items():
        ap.add_argument(f"--{name}", type=int, default=value)
    ap.add_argument("--mult", type=int, nargs="+", default=[1, 2, 2])
    ap.add_argument("--init", type=Path, help="folder of exported weights to go on from")
    ap.add_argument("--no-negatives", action="store_true", help="no spoiled pictures and negative words (Tab. 2b)")
    a = ap.parse_args(argv)
    sources = latents.sources(a.run, ["target0"] if a.no_negatives else ["target0", "bad0"])
    share = 0.0 if a.no_negatives else prompts.BAD
    captions, target = sources[0][0], sources[0][1]["target0"]
    torch.manual_seed(a.seed)
    config = {k: getattr(a, k) for k in ("l", "g", "channels", "head_dim", "groups", "mult")}
    if (checkpoint := a.run / f"{a.name}.pt").exists():
        began = common.load(checkpoint)["extra"]
        merges, config = began["merges"], began["config"]
    elif a.init:
        merges = [tuple(m.split(" ")) for m in weights.read_folder(a.init)[1]["supir.tokenizer.merges"].split("\n")]
    else:
        merges = tokenizer.learn(captions + [tokenizer.POSITIVE, tokenizer.NEGATIVE] * 200, a.merges)
    tok, text, unet = build(merges, target.shape[1], config)
    unet.start_straight()
    if a.init:
        common.start_from(a.init, {"model.diffusion_model.": unet, "conditioner.embedders.1.model.": text.g,
                                   "conditioner.embedders.0.transformer.text_model.": text.l})
    text.to(a.device), unet.to(a.device)
    modules = {"text": text, "unet": unet}
    stage = common.Stage(a, modules, optimizer=muon.of(modules, a.bf16))
    stage.extra.setdefault("config", config)
    stage.extra.setdefault("merges", merges)
    balance = common.Balance(stage.extra)
    held = 16  # scenes kept for evaluation

    def step():
        size, count = crop_size(stage.progress(), a.batch)
        rng, zs, ps = stage.rng, [], []
        for _ in range(count):
            good = rng.random() >= share
            words, pool = sources[rng.integers(len(sources))]
            pool = pool["target0" if good else "bad0"]
            i = rng.integers(held, len(pool))
            zs.append(crop(rng, pool[i], min(size, pool.shape[2]))[0])
            ps.append(prompts.prompt(rng, words[i], good))
        z = torch.from_numpy(np.stack(zs)).to(a.device).contiguous(memory_format=torch.channels_last)
        t = torch.randint(0, 1000, (count,))
        eps = torch.randn_like(z)
        out = unet(schedule.noised(z, eps, t), t.to(a.device), *text(*text.tokens(tok, ps, a.device)))
        each = (out - eps).pow(2).mean((1, 2, 3))
        return balance(each, t), {"loss": each.mean().detach()}

    def evaluate():
        """eps loss by index on held-out scenes with the true caption; and with the others' captions."""
        g = torch.Generator().manual_seed(5)
        captions, target = sources[-1][0], sources[-1][1]["target0"]
        z = torch.from_numpy(np.asarray(target[:held, :, -32:, -32:], np.float32)).to(a.device)
        eps = torch.randn(z.shape, generator=g).to(a.device)
        right = text(*text.tokens(tok, [f"{captions[i]}, {tokenizer.POSITIVE}" for i in range(held)], a.device))
        wrong = tuple(v.roll(1, 0) for v in right)
        worst = text(*text.tokens(tok, [tokenizer.NEGATIVE] * held, a.device))
        out = {}
        for k in (50, 300, 600, 900):
            t = torch.full((held,), k)
            x = schedule.noised(z, eps, t)
            for name, c in (("", right), ("_wrong", wrong), ("_bad", worst)):
                out[f"t{k}{name}"] = float(F.mse_loss(unet(x, t.to(a.device), *c), eps))
        return out

    stage.run(step, evaluate, evaluate_every=300)


def load(path):
    """(tokenizer, text, unet) with averaged weights, frozen."""
    s = common.load(path)
    z = s["model"]["unet"]["input_blocks.0.0.weight"].shape[1]
    tok, text, unet = build(s["extra"]["merges"], z, s["extra"]["config"])
    text.load_state_dict(s["model"]["text"])
    unet.load_state_dict(s["model"]["unet"])
    return tok, text.requires_grad_(False).eval(), unet.requires_grad_(False).eval()


if __name__ == "__main__":
    main()
