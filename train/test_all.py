"""The driver of all stages, and the pictures of a run."""
import json

import numpy as np
import pytest

from train import all as driver, sheet


def test_stages_are_skipped_resumed_and_kept_apart(tmp_path):
    calls = []

    def call(words, fail=()):
        calls.append(words[words.index("-m") + 1])
        return 1 if calls[-1] in fail else 0

    run = ["--run", str(tmp_path), "--hours", "1"]
    with pytest.raises(SystemExit, match="prior failed"):
        driver.main(run, lambda w: call(w, {"train.prior"}))
    assert calls == ["train.scenes"] * 2 + ["train.vae"] + ["train.latents"] * 4 + ["train.prior"]
    calls.clear()
    driver.main(run, call)
    assert calls[0] == "train.prior" and calls[-4:] == ["train.export", "train.llava", "train.export_llava", "train.sheet"]
    calls.clear()
    driver.main(run, call)
    assert calls == []
    driver.main([*run, "--variants"], call)
    assert calls == ["train.adaptor", "train.export"] * 2
    with pytest.raises(SystemExit, match="other options"):
        driver.main(["--run", str(tmp_path), "--hours", "2"], call)
    calls.clear()
    driver.main([*run, "--stage", "robust"], call)
    assert calls == ["train.robust"]


@pytest.mark.parametrize("argv, message", [
    (["--hours", "0"], "--hours"), (["--count", "5"], "--count"), (["--stage", "nothing"], "adaptor")])
def test_bad_options(tmp_path, capsys, argv, message):
    with pytest.raises(SystemExit):
        driver.main(["--run", str(tmp_path), *argv], None)
    assert message in capsys.readouterr().err


def test_shares_are_the_budget(tmp_path):
    assert sum(share for _, _, share, _ in driver.STAGES) == pytest.approx(1)


def test_curves_of_whatever_was_logged(tmp_path):
    assert sheet.curves(tmp_path) is None
    (tmp_path / "logs").mkdir()
    rows = [{"iter": i, "min": i / 2, "loss": 1 / (i + 1), "t300": 0.5} for i in range(5)]
    text = "".join(json.dumps(r) + "\n" for r in rows)
    (tmp_path / "logs" / "adaptor_zeroconv.jsonl").write_text(text + '{"iter": 5, "mi')
    (tmp_path / "logs" / "other.jsonl").write_text(text)
    im = np.asarray(sheet.curves(tmp_path))
    assert im.shape == (170, 900, 3)
    assert (im[:, 100:290] == (30, 90, 160)).all(-1).any() and (im[:, 700:890] == (30, 90, 160)).all(-1).any()
    assert sheet.samples(tmp_path) is None
