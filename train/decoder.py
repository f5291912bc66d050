"""Stage 1b: more training for the decoder alone, beside the later stages; the latent space stays as it is.

    python -m train.decoder --run RUN --minutes 60 --bf16

The latents carry noise of a random strength, as a sampler's do. Every save also writes decoder_final.pt, which
the robust encoder, the evaluation and the export take instead of vae_final.pt when they are told to.
"""
import numpy as np
import torch

from . import common, scenes, vae as vae_stage


def main(argv=None):
    ap = common.arguments("decoder", minutes=60, lr=1e-3, batch=12)
    ap.add_argument("--photos", help="folder of photographs to watch, never to learn from")
    ap.add_argument("--noise", type=float, default=0.12, help="the largest deviation of the latent's noise")
    a = ap.parse_args(argv)
    pictures, _ = scenes.load(a.run / "scenes")
    vae = vae_stage.load(a.run / "vae_final.pt").to(a.device)
    vae.decoder.requires_grad_(True)
    stage = common.Stage(a, {"decoder": vae.decoder})
    watched = {k: common.to_tensor(v) for k, v in common.photos(a.photos).items()}

    def step():
        p = stage.progress()
        size, count = ((64, a.batch), (128, max(2, a.batch // 3)), (256, 2))[0 if p < 0.4 else 1 if p < 0.8 else 2]
        x = common.to_tensor(common.random_crops(stage.rng, pictures[16:], count, size)).to(a.device)
        with torch.no_grad():
            z = vae.encode(x)
        z = z + a.noise * torch.rand(count, 1, 1, 1).to(z) * torch.randn_like(z)
        y = vae.decode(z)
        loss = vae_stage.texture_loss(y, x)
        return loss, {"loss": loss.detach(), "psnr": common.psnr(y.detach(), x)}

    def evaluate():
        out = {k: common.psnr(vae.decode(vae.encode(x.to(a.device))).cpu(), x) for k, x in watched.items()}
        common.save_atomic(dict(config=vae.config, vae=vae.state_dict()), a.run / f"{a.name}_final.pt")
        return {"photos": float(np.mean(list(out.values()) or [0]))} | out

    stage.run(step, evaluate)


if __name__ == "__main__":
    main()
