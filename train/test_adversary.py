"""The critic of the adaptor's latents."""
import torch
import torch.nn.functional as F

from train.adversary import Adversary


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
