"""The critic of the adaptor's latents."""
import torch
import torch.nn.functional as F

from train import schedule
from train.adversary import Adversary, Objective, strength


def test_the_critic_asks_for_detail_and_goes_on_where_it_was():
    torch.manual_seed(0)
    extra = {}
    rival = Adversary(4, extra, "cpu", lr=3e-3)
    soft = lambda z: F.avg_pool2d(F.pad(z, (1, 1, 1, 1), mode="reflect"), 3, 1)
    for _ in range(40):
        z = torch.randn(4, 4, 16, 16)
        _, right = rival.train(z, soft(z), soft(z))
    assert right > 0.95
    z = torch.randn(4, 4, 16, 16)
    share = torch.tensor(0.3, requires_grad=True)  # of a detail that is not the true one
    false = soft(z) + share * (torch.randn_like(z) - soft(z))
    rival.loss(z, false, soft(z)).mean().backward()
    assert share.grad < 0, "more detail, less held against it"
    assert all(p.grad is None for p in rival.net.parameters()), "nor does it learn from that"
    again = Adversary(4, extra, "cpu")
    assert torch.equal(rival.loss(z, soft(z), soft(z)), again.loss(z, soft(z), soft(z)))
    assert again.opt.state_dict()["state"][0]["step"] == 40


def test_strength_of_details_not_their_place():
    g = torch.Generator().manual_seed(3)
    noise = 0.3 * torch.randn(1, 1, 32, 64, generator=g).expand(1, 3, 32, 64).clone()
    noise[..., 32:] = 0
    a = strength(noise)
    assert a.shape == (1, 1, 2, 4)
    assert torch.allclose(a[..., 2:].flatten()[1::2], torch.tensor(1 / 255), atol=1e-6), "faint where nothing is"
    assert abs(float(a[..., :1].mean()) - 0.3) < 0.03, "two differences of two deviations each, halved"
    assert torch.allclose(strength(noise.roll(3, 2))[..., :2].mean(), a[..., :2].mean(), rtol=0.05)


def test_an_objective_asks_for_what_pictures_lack():
    torch.manual_seed(0)
    z, k = torch.randn(8, 4, 12, 12), torch.tensor(0.5, requires_grad=True)
    decode = lambda v: F.interpolate(v[:, :3], scale_factor=4.0)

    def predict(x, lq, t, c):
        """The eps that stands for k times the truth, which is lq here."""
        s = schedule.sigma(t)
        return (x * torch.sqrt(s * s + 1) - k * lq) / s

    objective = Objective(predict, lambda each, t: 0 * each.sum(), 1e-9, 4, {}, "cpu", 1.0, decode)
    args = (z, z, torch.full((8,), 100), torch.randn_like(z), [torch.zeros(8, 1)], z, torch.ones(8, dtype=torch.bool), decode(z))
    loss, numbers = objective(*args)
    assert abs(float(numbers["strength"]) - 0.25) < 0.01 and abs(float(numbers["lacks"]) - 0.25) < 0.05
    loss.backward()
    assert k.grad < 0, "stronger is better"
    assert "strength" not in objective(*args, judged=False)[1]
