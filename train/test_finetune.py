"""Fine-tuning from files, on a folder of photographs with some that cannot be used."""
import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from train import finetune, public
from train.test_public import files  # noqa: F401 (a fixture)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for name in ("a", "b"):
        x = np.asarray(Image.fromarray(rng.integers(0, 255, (12, 14, 3), np.uint8)).resize((140, 120), Image.BICUBIC))
        Image.fromarray(x).save(folder / f"{name}.png")
    (folder / "a.txt").write_text("a photo of\n a red wall")
    Image.new("RGB", (20, 200)).save(folder / "small.jpg")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    (folder / "notes.md").write_text("words")
    return folder


def arguments(photos, files, run, *more):
    return ["--photos", str(photos), "--from", *map(str, files), "--run", str(run), "--crop", "64", "--batch", "2",
            "--threads", "1", "--iters", "2", *more]


def test_finetunes_and_exports_what_changed(photos, files, tmp_path, capsys):  # noqa: F811
    finetune.main(arguments(photos, files, tmp_path / "run"))
    said = capsys.readouterr()
    assert "2 photographs, 1 with captions, 2 skipped" in said.out
    assert "skipped broken.jpg" in said.err and "skipped small.jpg: 20x200 is smaller" in said.err
    out = tmp_path / "run" / "export" / "supir.safetensors"
    old, new = load_file(files[1]), load_file(out)
    assert {k: (v.shape, v.dtype) for k, v in old.items()} == {k: (v.shape, v.dtype) for k, v in new.items()}
    changed = {k for k in old if not torch.equal(old[k], new[k])}
    assert changed and all(k.startswith((public.PREFIX["adaptor"], public.PREFIX["connectors"])) for k in changed)
    assert any(k.startswith(public.PREFIX["adaptor"]) for k in changed)
    with safe_open(out, "pt") as f:
        assert "supir.clip_l.heads" in f.metadata()
    public.Model(files[0], out)

    # Finished: the same command changes nothing. More iterations go on from there.
    finetune.main(arguments(photos, files, tmp_path / "run"))
    assert all(torch.equal(v, load_file(out)[k]) for k, v in new.items())
    finetune.main([*arguments(photos, files, tmp_path / "run"), "--iters", "3"])
    assert "resumed at iteration 2" in capsys.readouterr().out
    rows = (tmp_path / "run" / "logs" / "finetune.jsonl").read_text().splitlines()
    assert json.loads(rows[-1])["iter"] == 3


def test_connectors_only(photos, files, tmp_path):  # noqa: F811
    finetune.main(arguments(photos, files, tmp_path / "run", "--connectors-only", "--no-negatives"))
    old, new = load_file(files[1]), load_file(tmp_path / "run" / "export" / "supir.safetensors")
    changed = {k for k in old if not torch.equal(old[k], new[k])}
    assert changed and all(k.startswith(public.PREFIX["connectors"]) for k in changed)


@pytest.mark.parametrize("what, message", [
    ("folder", "no such folder"), ("empty", "no picture in it can be used"), ("crop", "must be a multiple of"),
    ("model", "no such file"), ("run", "of another model")])
def test_bad_input(photos, files, tmp_path, what, message):  # noqa: F811
    argv = arguments(photos, files, tmp_path / "run")
    if what == "folder":
        argv[1] = str(tmp_path / "none")
    elif what == "empty":
        (tmp_path / "empty").mkdir()
        argv[1] = str(tmp_path / "empty")
    elif what == "crop":
        argv += ["--crop", "100"]
    elif what == "model":
        argv[3] = str(tmp_path / "none.safetensors")
    elif what == "run":
        (tmp_path / "run").mkdir()
        torch.save({"raw": {"connectors": {}, "adaptor": {}}}, tmp_path / "run" / "finetune.pt")
    with pytest.raises(SystemExit, match=message):
        finetune.main(argv)
    assert not (tmp_path / "run" / "export").exists()


def test_crops_carry_their_captions(photos):
    p = finetune.Photographs(photos, 64)
    rng = np.random.default_rng(0)
    seen = {caption for x, caption in (p.crop(rng, 64) for _ in range(40)) if x.shape == (64, 64, 3)}
    assert seen == {"", "a photo of a red wall"}
