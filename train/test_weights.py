"""Files of weights."""
import numpy as np
import pytest
import torch
from gguf import GGUFWriter
from gguf.constants import GGMLQuantizationType as Q
from gguf.quants import quantize

from train import common, finetune, public, weights


def test_gguf(tmp_path):
    """Quantised and plain tensors come back in their shapes, texts of metadata too."""
    rng, path = np.random.default_rng(1), tmp_path / "model.gguf"
    conv, half, bias = rng.standard_normal((6, 32, 3, 3)).astype("f"), rng.standard_normal((5, 7)).astype("e"), np.ones(3, "f")
    w = GGUFWriter(path, "supir")
    w.add_string("supir.steps", "12")
    w.add_array("comfy.gguf.orig_shape.conv", list(conv.shape))
    w.add_tensor("conv", quantize(conv.reshape(6, -1), Q.Q8_0), raw_dtype=Q.Q8_0)
    w.add_tensor("half", half)
    w.add_tensor("bias", bias)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    tensors, metadata = weights.read_folder(tmp_path)
    assert metadata == {"supir.steps": "12"}
    assert tensors["conv"].shape == conv.shape
    assert float((tensors["conv"] - torch.from_numpy(conv)).abs().max()) < 0.03
    assert torch.equal(tensors["half"], torch.from_numpy(half)) and torch.equal(tensors["bias"], torch.ones(3))


def test_bad_files(tmp_path):
    for name in ("a.gguf", "a.safetensors"):
        with pytest.raises(weights.FileError, match="no such file"):
            weights.read(tmp_path / name)
        (tmp_path / name).write_bytes(b"GGUFnot at all a file of weights" * 9)
        with pytest.raises(weights.FileError, match=name):
            weights.read(tmp_path / name)


def test_load_mean(tmp_path):
    """The mean of two checkpoints, some named more than once, and a third of another shape refused by its name."""
    for name, bias in (("a", [1.0, 2.0]), ("b", [3.0, 6.0]), ("c", [1.0, 2.0, 3.0])):
        common.save_atomic({"model": {"end": {"bias": torch.tensor(bias)}}}, tmp_path / f"{name}.pt")
    read = lambda *names: [(tmp_path / f"{n}.pt", common.load(tmp_path / f"{n}.pt")) for n in names]
    end = torch.nn.Module()
    end.bias = torch.nn.Parameter(torch.zeros(2))
    common.load_mean(end, "end", read("a", "b"))
    assert end.bias.tolist() == [2.0, 4.0]
    common.load_mean(end, "end", read("a", "b", "b", "a", "a", "a", "a", "a"))
    assert end.bias.tolist() == [1.5, 3.0]
    with pytest.raises(weights.FileError, match="c.pt"):
        common.load_mean(end, "end", read("a", "c"))


def test_the_model_of_this_repository():
    model = public.Model(finetune.EMBEDDED)
    assert model.unet.config["z"] == model.vae.z
    assert set(model.tensors) and all(k.startswith(public.SUPIR) for k in model.tensors)
