"""The tokenizer's rules, GGUF files read back, the caches' resuming."""
import json
import struct

import numpy as np
import torch

from train import export_llava, gguf, llava, scenes, sentencepiece
from train.models.llava import LLaVA, turn

TEXTS = ["a photo of red wood circle, blue stone background", "a night photo of green grass background", llava.VICUNA]


def tokenizer():
    return sentencepiece.Tokenizer(*sentencepiece.learn(TEXTS * 3, 400))


def test_tokenizer():
    tok = tokenizer()
    for t in [*TEXTS, "zebra \u00e9\u4e16  double", "", " "]:
        assert tok.decode(tok.encode(t)) == t
    assert [tok.pieces[i] for i in tok.encode("red wood circle,")] == ["\u2581red", "\u2581wood", "\u2581circle", ","]
    assert tok.encode("\n")[-1] == 3 + 10  # a byte
    assert len(set(tok.pieces)) == len(tok.pieces)


def read(path):
    """What gguf.write wrote: metadata and tensors."""
    b, at = path.read_bytes(), 4

    def take(form):
        nonlocal at
        v = struct.unpack_from("<" + form, b, at)
        at += struct.calcsize("<" + form)
        return v[0]

    def text():
        nonlocal at
        n = take("Q")
        at += n
        return b[at - n:at].decode()

    def value(kind):
        if kind == 9:
            inner, n = take("I"), take("Q")
            return [value(inner) for _ in range(n)]
        return text() if kind == 8 else take({4: "I", 5: "i", 6: "f", 7: "?"}[kind])

    assert b[:4] == b"GGUF" and take("I") == 3
    n, m = take("Q"), take("Q")
    meta = {text(): value(take("I")) for _ in range(m)}
    table = []
    for _ in range(n):
        name = text()
        shape = [take("Q") for _ in range(take("I"))][::-1]
        table.append((name, shape, take("I"), take("Q")))
    start = -(-at // gguf.ALIGNMENT) * gguf.ALIGNMENT
    return meta, {name: np.frombuffer(b, [np.float32, np.float16][kind], int(np.prod(shape)), start + offset).reshape(shape)
                  for name, shape, kind, offset in table}


def small(tok):
    torch.manual_seed(0)
    return LLaVA(len(tok.pieces), [1, 5], [7, 8], 32, 16, (32, 1, 2, 64), (32, 1, 2, 64)).requires_grad_(False)


def test_export(tmp_path):
    tok = tokenizer()
    model = small(tok)
    export_llava.write(tmp_path, model, tok)
    meta, tensors = read(tmp_path / "llava-text.gguf")
    assert meta["tokenizer.ggml.tokens"] == tok.pieces and meta["llama.attention.head_count"] == 2
    assert meta["supir.llava.prompt"] == llava.PROMPT
    assert np.array_equal(tensors["blk.0.attn_q.weight"], model.text.blk[0].attn_q.weight.numpy())
    assert tensors["output_norm.weight"].dtype == np.float32 and "output.weight" not in tensors
    meta, tensors = read(tmp_path / "llava-mmproj.gguf")
    assert meta["clip.vision.block_count"] == 1 and np.allclose(meta["clip.vision.image_mean"], export_llava.MEAN)
    assert tensors["v.patch_embd.weight"].shape == (32, 3, 16, 16) and tensors["v.position_embd.weight"].shape == (5, 32)
    assert {"v.class_embd", "v.pre_ln.bias", "v.blk.0.ffn_down.bias", "mm.0.weight", "mm.2.bias"} <= set(tensors)


def test_rotation_is_relative():
    q, k = torch.randn(2, 1, 1, 1, 8).expand(2, 1, 1, 6, 8)
    a, b = turn(q), turn(k)
    assert torch.allclose((a[0, 0, 3] * b[0, 0, 1]).sum(), (a[0, 0, 5] * b[0, 0, 3]).sum(), atol=1e-5)
    assert torch.equal(a[0, 0, 0], q[0, 0, 0])


def test_answers_see_no_later_words():
    model = small(tokenizer())
    features = model.see(torch.rand(2, 3, 32, 32))
    a, b = torch.tensor([[9, 10, 11], [12, 13, 14]]), torch.tensor([[9, 10, 20], [12, 13, 30]])
    assert torch.allclose(model(features, a)[:, :3], model(features, b)[:, :3], atol=1e-5)
    assert model(features, a).shape == (2, 4, model.config["ids"])


def test_cache_goes_on(tmp_path):
    made = []

    def make(i, j):
        made.append((i, j))
        return np.stack([np.full((llava.CACHE,) * 2 + (3,), k, np.uint8) for k in range(i, j)])

    path = tmp_path / "x.npy"
    llava.cache(path, 5, 3, make, block=2)
    x = llava.cache(path, 8, 6, make, block=2)  # more, of a folder that has grown
    assert made == [(0, 2), (2, 3), (3, 5), (5, 6)] and [int(p[0, 0, 0]) for p in x] == list(range(6))


def test_captions_name_what_is_seen():
    things = [scenes.Thing("", "wood", 1.0), scenes.Thing("box", "", 0.25), scenes.Thing("ring", "fur", 0.25)]
    u8, owners = np.full((16, 16, 3), (200, 30, 30), np.uint8), np.zeros((16, 16), np.uint8)
    u8[:8, :8], owners[:8, :8] = (20, 20, 220), 1
    u8[8:10, 8:], owners[8:10, 8:] = (30, 200, 30), 2  # a quarter of it is left
    assert scenes.describe(u8, owners, things, []) == "a photo of blue box, red wood background"
    things[2].whole = 0.0625
    assert scenes.describe(u8, owners, things, []) == "a photo of blue box, green fur ring, red wood background"
    assert scenes.describe(u8[..., [2, 0, 1]], owners, things, ["thin lines"]) == (
        "a photo of red box, blue fur ring, thin lines, green wood background")
    owners[:], u8[:] = 1, (20, 20, 220)
    assert scenes.describe(u8, owners, things, []).endswith("plain background")
    true = llava.Answers.true((u8, owners, things, []), 4)
    assert true.shape == (16, 4) and (true[:, 0] == 1).all() and (true[:, 3] == 1 + scenes.SHAPES.index("box")).all()


def test_views_turn_picture_and_owners_together():
    u8 = np.zeros((1, llava.CACHE, llava.CACHE, 3), np.uint8)
    owners = np.zeros(u8.shape[:3], np.uint8)
    u8[0, :40, :70, 0], owners[0, :40, :70] = 255, 1
    source = llava.Source("x", u8, u8, owners, [([scenes.Thing("", "", 1), scenes.Thing("box", "", 0.2)], [])])
    for seed in range(8):
        x, [(true, whose, _, _)] = llava.views(np.random.default_rng(seed), [source], 1, 96)
        assert ((x[0].amax(0).numpy() > 0.5) == (whose == 1)).mean() > 0.97 and true.shape == (96, 96, 3)


def test_muon_makes_rows_orthogonal():
    from train import muon
    a, b = (torch.nn.Parameter(torch.randn(8, 16)) for _ in range(2))
    opt = muon.Muon([a], [a, b], lr=0.1, weight_decay=0.0, betas=(0.9, 0.99))
    old = a.detach().clone()
    (a * torch.randn(8, 16)).sum().backward()
    opt.step()
    s = torch.linalg.svdvals(a.detach() - old)
    assert s.max() / s.min() < 2 and len(opt.param_groups) == 2
    opt.load_state_dict(opt.state_dict())


def test_scores():
    said, true = ["a photo of red wood circle, blue sky background"], ["a photo of red wool box, blue sky background"]
    assert llava.score(said, true) == (0.6, 0.6)


def test_stage_resumes_and_exports(tmp_path):
    scenes.main(["--out", str(tmp_path / "scenes"), "--count", "16", "--size", "32", "--close", "--workers", "1"])
    common = ["--run", str(tmp_path), "--folders", "scenes", "--cleaned", "8", "--exported", "embedded", "--batch", "4",
              "--tower", "32", "1", "2", "32", "--text", "32", "1", "2", "32", "--threads", "1", "--alone", "0.5"]
    llava.main([*common, "--iters", "1"])
    llava.main([*common, "--iters", "2"])
    log = [json.loads(x) for x in (tmp_path / "logs" / "llava.jsonl").read_text().splitlines()]
    assert [x["iter"] for x in log] == [1, 2] and "scenes_cleaned_recall" in log[1]
    assert "write" not in log[0] and "write" in log[1]
    export_llava.main(["--run", str(tmp_path), "--out", str(tmp_path)])
    meta, tensors = read(tmp_path / "llava-text.gguf")
    assert len(meta["tokenizer.ggml.tokens"]) == len(tensors["token_embd.weight"])
