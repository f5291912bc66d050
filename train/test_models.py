"""Public key names, the connectors' start, the folded latent scale, resuming."""
import argparse

import numpy as np
import pytest
import torch

from train import adaptor as adaptor_stage, common, robust, weights
from train.models.adaptor import Recorder, layout
from train.models.text import Text
from train.models.unet import UNet
from train.models.vae import VAE

SMALL = dict(channels=16, mult=(1, 2, 2), head_dim=16, groups=4, context=24, pooled=16, size_dim=8, z=4)


def test_unet_keys():
    keys = set(UNet(**SMALL).state_dict())
    for k in ("time_embed.0.weight", "label_emb.0.2.bias", "input_blocks.0.0.weight", "input_blocks.3.0.op.weight",
              "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight", "input_blocks.4.1.proj_in.weight",
              "middle_block.1.transformer_blocks.0.ff.net.0.proj.weight", "output_blocks.2.2.conv.weight",
              "output_blocks.8.0.skip_connection.weight", "output_blocks.0.0.in_layers.0.weight", "out.2.weight",
              "input_blocks.1.0.emb_layers.1.weight", "input_blocks.1.0.out_layers.3.weight",
              "output_blocks.0.1.transformer_blocks.0.attn1.to_out.0.bias"):
        assert k in keys, k
    assert not any(k.startswith(("input_blocks.1.1", "output_blocks.8.1", "input_blocks.9")) for k in keys)


def test_adaptor_and_connector_keys():
    adaptor, connectors = adaptor_stage.build(UNet(**SMALL), hidden=8)
    assert adaptor.input_hint_block[0].weight.abs().max() == 0 and "input_hint_block.0.weight" in adaptor.state_dict()
    keys = set(connectors.state_dict())
    for k in ("0.zero_conv.weight", "11.param_free_norm.weight", "8.mlp_shared.0.weight", "10.zero_mul.bias",
              "3.attn.to_out.0.weight", "7.norm2.bias", "7.attn.to_q.weight"):
        assert k in keys, k
    assert len(connectors) == 12


def test_the_mean_of_two_checkpoints(tmp_path):
    unet, paths, weights = UNet(**SMALL), [], []
    for seed in (1, 2):
        torch.manual_seed(seed)
        adaptor, connectors = adaptor_stage.build(unet, hidden=8)
        torch.nn.init.normal_(connectors[0].zero_conv.weight)
        paths.append(tmp_path / f"{seed}.pt")
        weights.append(connectors[0].zero_conv.weight.detach().clone())
        common.save_atomic(dict(model=dict(adaptor=adaptor.state_dict(), connectors=connectors.state_dict()),
                                extra=dict(hidden=8)), paths[-1])
    one, both = (adaptor_stage.load(p, unet)[1][0].zero_conv.weight for p in (paths[:1], paths))
    assert torch.equal(one, weights[0]) and torch.allclose(both, (weights[0] + weights[1]) / 2)


def test_checkpoints_of_another_shape(tmp_path):
    (tmp_path / "a.pt").write_bytes(b"no checkpoint")
    for name in ("a.pt", "none.pt"):
        with pytest.raises(weights.FileError, match=f"{name}: no checkpoint"):
            common.load(tmp_path / name)
    unet = UNet(**SMALL)
    adaptor, connectors = adaptor_stage.build(UNet(**SMALL | dict(channels=32)), hidden=8)
    common.save_atomic(dict(model=dict(adaptor=adaptor.state_dict(), connectors=connectors.state_dict()), extra=dict(hidden=8)),
                       tmp_path / "wide.pt")
    with pytest.raises(weights.FileError, match="wide.pt: time_embed.0.weight is"):
        adaptor_stage.load([tmp_path / "wide.pt"], unet)
    vae = VAE(ch=16, mult=(1, 2), z=4)
    deep = robust.new_encoder(vae, 3).state_dict()
    with pytest.raises(weights.FileError, match="start.pt: down.1.block.3.norm1.weight is unexpected"):
        robust.new_encoder(vae, 2, deep, "start.pt")


def test_layout_is_the_table():
    unet = UNet(**SMALL | dict(channels=32, mult=(1, 2, 4), head_dim=32, pooled=16))
    rows = {i: (kind, feature, c, s, f) for i, kind, feature, c, s, f, _ in layout(unet)}
    n = 32  # stands for 320
    assert rows[11] == ("middle", 9, 4 * n, 4 * n, 0) and rows[8] == ("skip", 6, 2 * n, 2 * n, 4 * n)
    assert rows[7] == ("cross", 6, 2 * n, 4 * n, 0) and rows[3] == ("cross", 3, n, 2 * n, 0)
    assert rows[4] == ("skip", 3, n, n, 2 * n) and rows[0] == ("skip", 0, n, n, n)


def test_connectors_start_near_identity():
    torch.manual_seed(0)
    unet = UNet(**SMALL)
    adaptor, connectors = adaptor_stage.build(unet, hidden=8)
    x, t, c, p = torch.randn(1, 4, 16, 16), torch.tensor([300]), torch.randn(1, 77, 24), torch.randn(1, 16)
    torch.nn.init.normal_(unet.out[2].weight, std=0.1)
    with torch.no_grad():
        record = Recorder(connectors)
        plain = unet(x, t, c, p, record)
        record.calibrate()
        near = unet(x, t, c, p, connectors.bind(adaptor(x, x, t, c, p)))
        off = unet(x, t, c, p, connectors.bind(adaptor(x, x, t, c, p), 0.0))
    assert torch.allclose(plain, near, atol=1e-3 + 0.02 * plain.abs().max().item())
    assert torch.allclose(plain, off, atol=1e-5)


def test_zero_convolutions_start_as_the_unet():
    torch.manual_seed(0)
    unet = UNet(**SMALL)
    adaptor, connectors = adaptor_stage.build(unet, hidden=8, kind="zeroconv")
    assert sorted(connectors.state_dict()) == sorted(f"{i}.zero_conv.{n}" for i in range(10) for n in ("weight", "bias"))
    torch.nn.init.normal_(unet.out[2].weight, std=0.1)
    x, t, c, p = torch.randn(1, 4, 16, 16), torch.tensor([300]), torch.randn(1, 77, 24), torch.randn(1, 16)
    with torch.no_grad():
        plain, features = unet(x, t, c, p), adaptor(x, x, t, c, p)
        assert torch.allclose(plain, unet(x, t, c, p, connectors.bind(features)), atol=1e-6)
        torch.nn.init.normal_(connectors[4].zero_conv.weight)
        moved = unet(x, t, c, p, connectors.bind(features))
        assert not torch.allclose(plain, moved, atol=1e-3)
        assert torch.allclose(plain, unet(x, t, c, p, connectors.bind(features, 0.0)), atol=1e-6)


def test_text_keys_and_shapes():
    text = Text(100, 99, l=8, g=16, layers=3, heads=2, pooled=16)
    assert {"embeddings.token_embedding.weight", "encoder.layers.2.self_attn.q_proj.weight",
            "encoder.layers.0.mlp.fc1.bias", "final_layer_norm.weight"} <= set(text.l.state_dict())
    assert {"token_embedding.weight", "positional_embedding", "transformer.resblocks.1.attn.in_proj_weight",
            "transformer.resblocks.1.mlp.c_fc.weight", "text_projection"} <= set(text.g.state_dict())
    ids = torch.randint(0, 98, (2, 77))
    ids[:, 9] = 99
    context, pooled = text(ids, ids)
    assert context.shape == (2, 77, 24) and pooled.shape == (2, 16)
    later = ids.clone()
    later[:, 20:] = 0
    assert torch.allclose(text(later, later)[1], pooled, atol=1e-6), "causal: what follows the end changes nothing"


def test_vae_keys_and_normalised_latent():
    vae = VAE(8, (1, 2, 4), 4)
    keys = set(vae.state_dict())
    for k in ("encoder.down.0.downsample.conv.weight", "encoder.mid.block_1.norm1.weight", "encoder.conv_out.bias",
              "decoder.up.2.upsample.conv.weight", "decoder.up.0.block.1.conv2.weight",
              "encoder.down.1.block.0.nin_shortcut.weight", "quant_conv.weight", "post_quant_conv.bias"):
        assert k in keys, k
    x = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        z = vae.encode(x)
        before = vae.decode(z)
        vae.normalise(z.mean((0, 2, 3)), z.std((0, 2, 3)), 0.05)
        z = vae.encode(x)
        moments = vae.quant_conv(vae.encoder(x))
    assert torch.allclose(z.std((0, 2, 3)), torch.ones(4), atol=1e-3)
    assert torch.allclose(moments[:, :4] * 0.13025, z, atol=1e-4)
    assert torch.allclose(0.13025 * (0.5 * moments[:, 4:]).exp(), torch.full_like(z, 0.05), atol=1e-3)
    assert torch.allclose(vae.decode(z), before, atol=1e-3)


def run_steps(folder, iters):
    torch.manual_seed(1)
    a = argparse.Namespace(run=folder, name="toy", minutes=1e9, iters=iters, lr=1e-2, seed=3, threads=1, device="cpu",
                           bf16=False)
    net = torch.nn.Linear(4, 1)
    stage = common.Stage(a, {"net": net})
    stage.args.iters = 40  # the schedule's length stays; the run ends earlier

    def step():
        x = torch.from_numpy(stage.rng.standard_normal((8, 4)).astype(np.float32)) + 0.1 * torch.randn(8, 4)
        loss = ((net(x) - x.sum(1, keepdim=True)) ** 2).mean()
        if stage.iter == iters:
            raise KeyboardInterrupt
        return loss, {}

    try:
        stage.run(step, save_every=0)
    except KeyboardInterrupt:
        pass
    return net.weight.detach().clone()


def test_a_killed_run_continues_exactly(tmp_path):
    whole = run_steps(tmp_path / "a", 40)
    run_steps(tmp_path / "b", 17)
    assert torch.equal(whole, run_steps(tmp_path / "b", 40))
