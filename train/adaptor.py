"""Stage 4: the adaptor and its connectors; U-Net and text encoders frozen (section 3.1 and 3.2 of the paper).

    python -m train.latents --run RUN --kind lq --variants 2
    python -m train.adaptor --run RUN --minutes 30 --bf16

The adaptor starts as the U-Net's encoder, the connectors as near the identity as their norms allow. Captions
carry quality words; one sample in six is a spoiled picture with negative ones, restored from the same LQ latent.
The paper's ablations: --no-negatives (Tab. 2b), --connector zeroconv (Tab. 2c), each with a --name of its own.
"""
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from . import common, latents, muon, prior, prompts, schedule, tokenizer, weights
from .models.adaptor import KINDS, Adaptor, Connectors, Recorder


def build(unet, hidden, kind="zerosft"):
    """An adaptor holding the U-Net's encoder, and connectors."""
    k = unet.config
    adaptor = Adaptor(**k)
    own = adaptor.state_dict()
    adaptor.load_state_dict(own | {n: v for n, v in unet.state_dict().items() if n in own})
    return adaptor, Connectors(unet, k["groups"], k["head_dim"], hidden, kind)


def main(argv=None):
    ap = common.arguments("adaptor", minutes=30, lr=5e-3, batch=16)
    ap.add_argument("--hidden", type=int, default=16, help="ZeroSFT's mlp_shared")
    ap.add_argument("--variants", type=int, default=2)
    ap.add_argument("--low", type=float, default=1.3, help="above 1: more of the low indices, where a sampler ends")
    ap.add_argument("--prior", default="prior.pt", help="the prior's checkpoint in RUN")
    ap.add_argument("--init", type=Path, help="what to go on from: a folder of exported weights, or NAME.pt, a checkpoint in RUN")
    ap.add_argument("--no-negatives", action="store_true", help="no spoiled pictures and negative words (Tab. 2b)")
    ap.add_argument("--connector", choices=KINDS, default=KINDS[0], help="zeroconv: as in ControlNet (Tab. 2c)")
    a = ap.parse_args(argv)
    low = [f"lq{k}" for k in range(a.variants)]
    sources = latents.sources(a.run, ["target0", *low] if a.no_negatives else ["target0", "bad0", *low])
    share = 0.0 if a.no_negatives else prompts.BAD
    tok, text, unet = prior.load(a.run / a.prior)
    text.to(a.device), unet.to(a.device)
    torch.manual_seed(a.seed)
    adaptor, connectors = build(unet, a.hidden, a.connector)
    adaptor.to(a.device), connectors.to(a.device)
    modules = {"adaptor": adaptor, "connectors": connectors}
    if a.init and a.init.suffix == ".pt":
        start = common.load(a.run / a.init)["model"]
        for name, module in modules.items():
            weights.load(module, start.get(name, {}), a.run / a.init)
    elif a.init:
        common.start_from(a.init, {"model.control_model.": adaptor, "model.diffusion_model.project_modules.": connectors})
    stage = common.Stage(a, modules, optimizer=muon.of(modules, a.bf16))
    stage.extra.setdefault("hidden", a.hidden)
    stage.extra.setdefault("connector", a.connector)
    held = 16

    def sample(size, count):
        """Noised latents, low-quality ones, indices, the noise, texts."""
        rng, zs, ls, ps = stage.rng, [], [], []
        for _ in range(count):
            good = rng.random() >= share
            captions, pool = sources[rng.integers(len(sources))]
            lq, target = pool[low[rng.integers(len(low))]], pool["target0" if good else "bad0"]
            i = rng.integers(held, min(len(lq), len(target)))
            z, y, x = prior.crop(rng, target[i], size)
            zs.append(z)
            ls.append(np.asarray(lq[i][:, y:y + size, x:x + size], np.float32))
            ps.append(prompts.prompt(rng, captions[i], good))
        z, l = (torch.from_numpy(np.stack(v)).to(a.device).contiguous(memory_format=torch.channels_last) for v in (zs, ls))
        t = (1000 * torch.rand(count) ** a.low).long()
        eps = torch.randn_like(z)
        with torch.no_grad():
            context = text(*text.tokens(tok, ps, a.device))
        return schedule.noised(z, eps, t), l, t.to(a.device), eps, context

    if stage.iter == 0 and a.connector == "zerosft" and not a.init:
        record = Recorder(connectors)
        with torch.no_grad():
            for _ in range(8):
                x, _, t, _, c = sample(32, 16)
                unet(x, t, *c, record)
        record.calibrate()
        stage.average.shadow = [p.detach().clone() for p in stage.params]

    def predict(x, l, t, c):
        return unet(x, t, *c, connectors.bind(adaptor(x, l, t, *c)))

    balance = common.Balance(stage.extra)

    def step():
        x, l, t, eps, c = sample(*prior.crop_size(stage.progress(), a.batch))
        each = (predict(x, l, t, c) - eps).pow(2).mean((1, 2, 3))
        return balance(each, t), {"loss": each.mean().detach()}

    def evaluate():
        """eps loss by index on held-out scenes; and of the U-Net alone."""
        captions, pool = sources[0]
        target, low0 = pool["target0"], pool["lq0"]
        g = torch.Generator().manual_seed(5)
        z = torch.from_numpy(np.asarray(target[:held, :, 8:56, 8:56], np.float32)).to(a.device)
        l = torch.from_numpy(np.asarray(low0[:held, :, 8:56, 8:56], np.float32)).to(a.device)
        eps = torch.randn(z.shape, generator=g).to(a.device)
        c = text(*text.tokens(tok, [f"{captions[i]}, {tokenizer.POSITIVE}" for i in range(held)], a.device))
        out = {}
        for k in (50, 300, 600, 900):
            t = torch.full((held,), k)
            x = schedule.noised(z, eps, t)
            t = t.to(a.device)
            out[f"t{k}"] = float(F.mse_loss(predict(x, l, t, c), eps))
            out[f"t{k}_unet"] = float(F.mse_loss(unet(x, t, *c), eps))
        return out

    stage.run(step, evaluate, evaluate_every=300)


def load(paths, unet):
    """(adaptor, connectors) with averaged weights, frozen; of several checkpoints of one shape their mean, where one named
    twice counts twice."""
    checkpoints = [(p, common.load(p)) for p in paths]
    extra = checkpoints[0][1]["extra"]
    adaptor, connectors = build(unet, extra["hidden"], extra.get("connector", "zerosft"))
    common.load_mean(adaptor, "adaptor", checkpoints)
    common.load_mean(connectors, "connectors", checkpoints)
    return adaptor.requires_grad_(False).eval(), connectors.requires_grad_(False).eval()


if __name__ == "__main__":
    main()
