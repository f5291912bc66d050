"""Writes GGUF files, version 3: a header, metadata, a table of tensors, the tensors, each on a multiple of 32 bytes.

Tensors are numpy arrays of float32 or float16. ggml names the fastest axis first, numpy the slowest.
"""
import os
import struct
from pathlib import Path

import numpy as np

F32, F16 = 0, 1
ALIGNMENT = 32


def text(s):
    b = s.encode()
    return struct.pack("<Q", len(b)) + b


def value(v):
    """The type's number and the bytes of a value: bool, int, float, str, or a list of one of these."""
    if isinstance(v, bool):
        return 7, struct.pack("<?", v)
    if isinstance(v, int):
        return 4, struct.pack("<I", v)
    if isinstance(v, float):
        return 6, struct.pack("<f", v)
    if isinstance(v, str):
        return 8, text(v)
    items = [value(x) for x in v]
    kind = 5 if items[0][0] == 4 else items[0][0]  # lists of whole numbers are signed
    return 9, struct.pack("<IQ", kind, len(v)) + b"".join(b for _, b in items)


def write(path, metadata, tensors):
    """A temporary file, then renamed."""
    head = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(metadata))]
    for k, v in metadata.items():
        kind, data = value(v)
        head += [text(k), struct.pack("<I", kind), data]
    bodies, offset = [], 0
    for name, x in tensors.items():
        kind = {np.dtype(np.float32): F32, np.dtype(np.float16): F16}[x.dtype]
        head += [text(name), struct.pack("<I", len(x.shape)), struct.pack(f"<{len(x.shape)}Q", *reversed(x.shape)),
                 struct.pack("<IQ", kind, offset)]
        data = np.ascontiguousarray(x).tobytes()
        bodies.append(data + bytes(-len(data) % ALIGNMENT))
        offset += len(bodies[-1])
    head = b"".join(head)
    tmp = Path(path).with_suffix(".tmp")
    tmp.write_bytes(head + bytes(-len(head) % ALIGNMENT) + b"".join(bodies))
    os.replace(tmp, path)
