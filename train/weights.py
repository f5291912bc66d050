"""Weights from files: safetensors, and GGUF as `supir convert` writes it."""
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open


class FileError(SystemExit):
    """A file that is not what it should be; the message says which, and what would work. It ends a command that does not
    catch it, without a traceback."""


def read(path):
    """(tensors by name, metadata as texts) of a file."""
    path = Path(path)
    if not path.is_file():
        raise FileError(f"{path}: no such file")
    try:
        if path.suffix == ".gguf":
            return read_gguf(path)
        with safe_open(path, "pt") as f:
            return {k: f.get_tensor(k) for k in f.keys()}, f.metadata() or {}
    except (SafetensorError, OSError, ValueError, IndexError, KeyError) as e:
        raise FileError(f"{path}: not a {path.suffix[1:] or 'safetensors'} file that can be read ({e}); `supir convert` "
                        "makes a .gguf of what supir reads") from e


def load(module, tensors, what):
    """load_state_dict with every misfit in one message."""
    own = module.state_dict()
    wrong = [f"{k} is missing" for k in own if k not in tensors]
    wrong += [f"{k} is unexpected" for k in tensors if k not in own]
    wrong += [f"{k} is {list(tensors[k].shape)}, not {list(v.shape)}" for k, v in own.items()
              if k in tensors and tensors[k].shape != v.shape]
    if wrong:
        more = f", and {len(wrong) - 6} more" if len(wrong) > 6 else ""
        raise FileError(f"{what}: " + "; ".join(wrong[:6]) + more)
    module.load_state_dict(tensors)
    return module


def read_gguf(path):
    """As read; quantised weights become float32. Convolutions of quantised types are matrices there, and have their
    shapes in the metadata."""
    from gguf import GGUFReader
    from gguf.quants import dequantize
    reader = GGUFReader(path)
    fields = {k: f.contents() for k, f in reader.fields.items()}
    tensors = {}
    for t in reader.tensors:
        shape = fields.get(f"comfy.gguf.orig_shape.{t.name}", t.shape[::-1].tolist())
        exact = t.tensor_type.name in ("F32", "F16")
        data = t.data if exact else dequantize(t.data, t.tensor_type)
        tensors[t.name] = torch.from_numpy(np.array(data).reshape(shape))
    return tensors, {k: str(v) for k, v in fields.items() if k.startswith("supir.")}


def read_folder(folder):
    """(tensors, metadata) of a model in a folder: model.gguf, or sdxl.safetensors and supir.safetensors as export
    writes them."""
    folder = Path(folder)
    if (folder / "model.gguf").exists():
        return read(folder / "model.gguf")
    (a, m), (b, n) = (read(folder / f"{name}.safetensors") for name in ("sdxl", "supir"))
    return a | b, m | n
