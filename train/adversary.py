"""What the adaptor learns by: to tell noise from picture, and to please a critic.

Squared errors alone ask for the mean of what a picture may have been, which is softer than any of it; and a sampler that
begins with something soft ends so, for whatever is in the latent on its way passes for the picture. So half of each batch
is not the truth noised, but what a sampler has come to, noised; there the critic judges. It sees the true latent and the
denoised one, each beside the low-quality latent they belong to, and says place by place which looks truer (the
relativistic pairing of Jolicoeur-Martineau 2018). Its slope is held down at both (R1 and R2 of Huang et al. 2024, "The GAN
is dead", by finite differences). It is thrown away afterwards.
"""
import torch
import torch.distributed as dist
import torch.nn as nn
import torch.nn.functional as F

from . import schedule

OFF = 0.5  # weight of the squared distance from the truth, where the critic judges
HIGHEST = 800  # index up to which it does
SLOPE = 0.5  # weight of the squared slope
STEP = 0.1  # of the differences it is measured by


def critic(z, width=64):
    """(N, 2 z, h, w) -> (N, 1, h / 2, w / 2); each place sees 11 x 11 latent pixels."""
    conv = lambda a, b, stride=1: [nn.Conv2d(a, b, 3, stride, 1), nn.LeakyReLU(0.2)]
    return nn.Sequential(*conv(2 * z, width), *conv(width, width), *conv(width, 2 * width, 2), *conv(2 * width, 2 * width),
                         nn.Conv2d(2 * width, 1, 1)).to(memory_format=torch.channels_last)


class Adversary:
    """The critic and its optimizer, kept in a stage's `extra`, so that a resumed stage goes on with both."""

    def __init__(self, z, extra, device, lr=4e-4):
        self.net, self.extra = critic(z).to(device), extra
        self.opt = torch.optim.AdamW(self.net.parameters(), lr=lr, betas=(0.5, 0.99), weight_decay=0.01)
        if kept := extra.get("critic"):
            self.net.load_state_dict(kept["net"])
            self.opt.load_state_dict(kept["opt"])

    def doubt(self, a, b):
        """softplus of how much truer b looks than a, place by place."""
        return F.softplus(b.float() - a.float())

    def train(self, true, false, lq):
        """One step of the critic on detached latents (N, z, h, w); -> its loss and how often it is right."""
        self.net.requires_grad_(True)
        x = torch.cat([torch.cat([v, lq], 1) for v in (true, false.detach())])
        moved = torch.cat([x[:, :true.shape[1]] + STEP * torch.randn_like(x[:, :true.shape[1]]), x[:, true.shape[1]:]], 1)
        there, near = self.net(torch.cat([x, moved])).float().chunk(2)
        a, b = there.chunk(2)
        slope = ((near - there) / STEP).pow(2).mean()
        loss = self.doubt(a, b).mean() + SLOPE * slope
        loss.backward()
        self.opt.step()
        self.opt.zero_grad(set_to_none=True)
        self.extra["critic"] = dict(net=self.net.state_dict(), opt=self.opt.state_dict())
        return loss.detach(), (a > b).float().mean()

    def loss(self, true, false, lq):
        """(N,) what the critic holds against each denoised latent."""
        self.net.requires_grad_(False)
        a, b = self.net(torch.cat([torch.cat([v, lq], 1) for v in (true, false)])).chunk(2)
        return self.doubt(b, a).mean((1, 2, 3))


def detail(z):
    """Mean square of differences between neighbours."""
    return float(sum(z.float().diff(dim=d).pow(2).mean() for d in (2, 3)))


class Objective:
    """predict(x, lq, t, context) -> eps is what learns; balance(each, t) averages squared errors of eps over a batch;
    critic: weight of the adversary, 0 for none."""

    def __init__(self, predict, balance, critic=0.0, z=0, extra=None, device="cpu"):
        if critic and dist.is_initialized():
            raise SystemExit("--critic wants one process, not torchrun's several")
        self.predict, self.balance, self.critic = predict, balance, critic
        self.adversary = Adversary(z, extra, device) if critic else None

    def denoise(self, x, lq, t, context):
        return schedule.denoised(x, self.predict(x, lq, t, context), schedule.sigma(t).to(x))

    @torch.no_grad()
    def underway(self, lq, t, context):
        """What a sampler has come to when it reaches indices t: two of its steps from pure noise, noised again."""
        between = (t + (999 - t) * torch.rand(t.shape, device=t.device)).long()
        z = self.denoise(torch.randn_like(lq), lq, torch.full_like(t, 999), context)
        z = self.denoise(schedule.noised(z, torch.randn_like(z), between), lq, between, context)
        return schedule.noised(z, torch.randn_like(z), t)

    def __call__(self, x, lq, t, eps, context, z, good, judged=True):
        """x: z noised by eps at indices t. good (N,): not a spoiled picture, which is soft by right. judged: by the critic,
        if there is one. -> loss, numbers"""
        n = min(len(x) // 2, int(good.sum())) if self.adversary and judged else 0
        if n:
            order = torch.argsort(~good, stable=True)
            x, lq, t, eps, z, context = x[order], lq[order], t[order], eps[order], z[order], [v[order] for v in context]
            t = torch.cat([(HIGHEST * torch.rand(n, device=t.device)).long(), t[n:]])
            x = torch.cat([self.underway(lq[:n], t[:n], [v[:n] for v in context]), x[n:]])
        out = self.predict(x, lq, t, context)
        each = (out - eps)[n:].pow(2).mean((1, 2, 3))
        loss, numbers = self.balance(each, t[n:]), {"loss": each.mean().detach()}
        if n:
            s, true = schedule.sigma(t[:n]).to(x), z[:n]
            false = schedule.denoised(x[:n], out[:n], s).float()
            numbers["critic"], numbers["right"] = self.adversary.train(true, false, lq[:n])
            near = 1 / (1 + s * s).sqrt().flatten()
            doubt, off = self.adversary.loss(true, false, lq[:n]), (false - true).pow(2).mean((1, 2, 3))
            loss = loss + (near * (self.critic * doubt + OFF * off)).mean()
            numbers |= {"doubt": doubt.detach().mean(), "off": off.detach().mean(),
                        "detail": detail(false.detach()) / detail(true)}
        return loss, numbers
