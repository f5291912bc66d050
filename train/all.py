"""Everything, in order: from nothing to the files that supir loads, curves and sample sheets.

    python -m train.all --run RUN --hours 8 --bf16
    python -m train.all --run RUN --hours 8 --bf16 --variants      # and the models of the paper's ablations
    python -m train.all --run RUN --list

Given again after it was killed, it goes on: finished stages are skipped, the one that was at work resumes from its
last checkpoint. The budget is shared among the stages as `STAGES` says and cannot be changed for a run.
"""
import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

# name, module, its share of the budget, its options beside --run and what every stage has
STAGES = (
    ("scenes", "scenes", 0, "--out {run}/scenes --count {count}"),
    ("close", "scenes", 0, "--out {run}/close --count {count} --size 128 --close --block 80 --seed 1"),
    ("vae", "vae", 0.2, ""),
    ("target", "latents", 0, "--kind target"),
    ("bad", "latents", 0, "--kind bad"),
    ("close_target", "latents", 0, "--kind target --scenes close"),
    ("close_bad", "latents", 0, "--kind bad --scenes close"),
    ("prior", "prior", 0.27, ""),
    ("robust", "robust", 0.2, ""),
    ("lq", "latents", 0, "--kind lq --variants 2"),
    ("close_lq", "latents", 0, "--kind lq --variants 2 --scenes close"),
    ("adaptor", "adaptor", 0.23, ""),
    ("export", "export", 0, ""),
    ("llava", "llava", 0.1, ""),
    ("export_llava", "export_llava", 0, "--out {run}/export"),
)

# The paper's ablations train the adaptor again; the prior stays, as SDXL does in the paper.
VARIANTS = (
    ("adaptor_without_negatives", "adaptor", 0.23, "--no-negatives --name adaptor_without_negatives"),
    ("export_without_negatives", "export", 0, "--adaptor adaptor_without_negatives.pt --out {run}/without_negatives"),
    ("adaptor_zeroconv", "adaptor", 0.23, "--connector zeroconv --name adaptor_zeroconv"),
    ("export_zeroconv", "export", 0, "--adaptor adaptor_zeroconv.pt --out {run}/zeroconv"),
)

LAST = (("sheet", "sheet", 0, "--out {run}/sheets"),)


def commands(a):
    """[(name, arguments of python)] of every stage."""
    out = []
    for name, module, share, options in (*STAGES, *(VARIANTS if a.variants else ()), *LAST):
        words = ["-m", f"train.{module}", *options.format(run=a.run, count=a.count).split()]
        if module != "scenes":
            words += ["--run", str(a.run)]
        if share:
            words += ["--minutes", f"{60 * a.hours * share:.3f}", "--device", a.device, "--threads", str(a.threads)]
            words += ["--bf16"] if a.bf16 else []
        elif module == "scenes":
            words += ["--workers", str(a.threads)]
        elif module == "latents":
            words += ["--threads", str(a.threads)]
        out.append((name, words))
    return out


def arguments(argv):
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("--run", type=Path, required=True, help="folder of everything made")
    ap.add_argument("--hours", type=float, default=8, help="of training, shared among the stages")
    ap.add_argument("--count", type=int, default=2400, help="scenes, and as many close views")
    ap.add_argument("--device", default="cpu")
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--bf16", action="store_true", help="bfloat16 activations")
    ap.add_argument("--variants", action="store_true", help="also the models of the paper's ablations, in half as much time again")
    ap.add_argument("--stage", help="this one alone, again if it is finished")
    ap.add_argument("--list", action="store_true", help="print the stages and their commands, and end")
    a = ap.parse_args(argv)
    if not a.hours > 0:
        ap.error("--hours must be more than 0")
    if a.count < 48:
        ap.error("--count must be at least 48: sixteen scenes are held out of training")
    if a.stage and a.stage not in [name for name, _ in commands(a)]:
        ap.error(f"no stage {a.stage}; there are " + ", ".join(name for name, _ in commands(a)))
    return a


def main(argv=None, call=subprocess.call):
    a = arguments(argv)
    path = a.run / "done.json"
    done = json.loads(path.read_text()) if path.exists() else {}
    for name, words in commands(a):
        if a.list:
            print(f"{'done' if name in done else '    '} {name:26s} python {' '.join(words)}")
            continue
        if a.stage and name != a.stage:
            continue
        if name in done and not a.stage:
            if done[name] != words:
                sys.exit(f"stage {name} of {a.run} was made by other options:\n  {' '.join(done[name])}\n"
                         f"give those again, or another --run")
            print(f"{name}: done", flush=True)
            continue
        print(f"{name}: python {' '.join(words)}", flush=True)
        status = call([sys.executable, *words])
        if status:
            sys.exit(f"stage {name} failed (status {status}); the same command goes on from here")
        done[name] = words
        tmp = path.with_suffix(".tmp")
        path.parent.mkdir(parents=True, exist_ok=True)
        tmp.write_text(json.dumps(done, indent=1) + "\n")
        os.replace(tmp, path)


if __name__ == "__main__":
    main()
