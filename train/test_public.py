"""Networks built from files in the public layout, against numbers of an independent implementation."""
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from train import public
from train.models.adaptor import Connectors
from train.models.unet import UNet

GOLDEN = Path(__file__).parents[1] / "testdata" / "golden"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The golden pair with the metadata that it lacks."""
    folder, config = tmp_path_factory.mktemp("golden"), json.loads((GOLDEN / "config.json").read_text())
    meta = {"supir.clip_l.heads": str(config["hl"]), "supir.clip_g.heads": str(config["hg"])}
    for name in ("sdxl", "supir"):
        save_file(load_file(GOLDEN / f"{name}.safetensors"), folder / f"{name}.safetensors", metadata=meta)
    return folder / "sdxl.safetensors", folder / "supir.safetensors"


@pytest.fixture(scope="module")
def model(files):
    return public.Model(*files)


def close(got, want, bound=1e-9):
    """Normalised squared error."""
    assert got.shape == want.shape
    assert float(((got - want) ** 2).sum() / (want ** 2).sum()) < bound


@torch.no_grad()
def test_vae(model):
    g = load_file(GOLDEN / "vae.safetensors")
    x = g["image"][None].float()
    close(model.vae.encode(x)[0], g["encoder.latent_mode"])
    z = model.vae.encode(x, model.encoder)
    close(z[0], g["denoise_encoder.latent_mode"])
    close(model.vae.decode(z)[0], g["decoder.image"])


@torch.no_grad()
def test_text(model):
    g, texts = load_file(GOLDEN / "text.safetensors"), json.loads((GOLDEN / "text.json").read_text())
    for name, prompt in texts.items():
        ids = model.text.tokens(model.tok, [prompt])
        assert ids[0][0].tolist() == g[f"{name}.clip_l.ids"].tolist()
        assert ids[1][0].tolist() == g[f"{name}.clip_g.ids"].tolist()
        context, pooled = model.context([prompt])
        close(context[0], torch.cat([g[f"{name}.clip_l.hidden"], g[f"{name}.clip_g.hidden"]], -1))
        close(pooled[0], g[f"{name}.clip_g.pooled"])


@torch.no_grad()
@pytest.mark.parametrize("scale, key", [(1.0, "unet.out"), (0.5, "unet.out.control_scale_0.5"), (0.0, "unet.out.control_scale_0")])
def test_diffusion(model, scale, key):
    g = load_file(GOLDEN / "diffusion.safetensors")
    x, t, context, pooled = g["x"], g["t"], g["context"], g["y"][:, :model.unet.config["pooled"]]
    features = model.adaptor(x, g["control"].expand_as(x), t, context, pooled)
    for i, f in enumerate(features):
        close(f, g[f"control_model.feature.{i}"])
    close(model.unet(x, t, context, pooled, model.connectors.bind(features, scale)), g[key])


def test_full_size():
    """SDXL's U-Net is built with its own number of weights, and its sizes are read back from the shapes."""
    sizes = dict(channels=320, mult=(1, 2, 4), depth=(0, 2, 10), middle=10, blocks=2, head_dim=64, groups=32,
                 context=2048, pooled=1280, size_dim=256, z=4)
    with torch.device("meta"):
        unet = UNet(**sizes)
        connectors = Connectors(unet, 32, 64, 128)
    assert sum(p.numel() for p in unet.parameters()) == 2_567_463_684
    assert public.trunk(unet.state_dict(), 32, 64, 1280) == sizes
    assert len(connectors) == 12 and connectors[8].zero_mul.weight.shape == (1920, 128, 3, 3)


def test_bad_files(files, tmp_path):
    sdxl, supir = files
    with pytest.raises(public.FileError, match="none.safetensors: no such file"):
        public.Model(sdxl, tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("words")
    with pytest.raises(public.FileError, match="not a safetensors file"):
        public.Model(sdxl, tmp_path / "text.safetensors")
    with pytest.raises(public.FileError, match="SDXL file first"):
        public.Model(supir, sdxl)
    tensors = load_file(supir)
    key = "model.control_model.input_blocks.4.0.in_layers.2.weight"
    tensors[key] = tensors[key][:-1].contiguous()
    del tensors["model.control_model.input_hint_block.0.bias"]
    save_file(tensors, tmp_path / "odd.safetensors")
    with pytest.raises(public.FileError, match="odd.safetensors: input_hint_block.0.bias is missing; input_blocks.4.0.in_layers.2.weight is"):
        public.Model(sdxl, tmp_path / "odd.safetensors")
