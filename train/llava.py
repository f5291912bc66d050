"""Stage 5: a small LLaVA, which describes pictures in the scenes' own words.

    python -m train.llava --run RUN --minutes 60 --threads 1 --bf16

First the pictures are made once, at the side `CACHE`, into RUN/llava: the scenes as they are, and `--cleaned` of each
folder degraded and then cleaned by the degradation-robust encoder and the decoder, as the paper shows them to LLaVA.
Half of a batch is of these. Tower, projector and language model learn together, from nothing: to write the caption,
which names the largest things in the order of their size, and, so that the tower learns quickly, to tell by a linear
layer on the mean of its features which words the caption has (thrown away afterwards; LLaVA's tower comes trained).
"""
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

from . import common, degrade, robust, scenes, sentencepiece, vae as vae_stage
from .models.llava import LLaVA
from .models.vae import VAE

CACHE = 128  # side of the pictures kept; the tower sees crops of them
HELD = 48  # scenes of each folder that are watched, never learned from; at most a quarter of it
PROMPT = "USER: <image>\nDescribe this image. ASSISTANT:"
VICUNA = ("A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, "
          "detailed, and polite answers to the human's questions. USER: \nDescribe this image and its style in a very "
          "detailed manner. ASSISTANT:")


class FirstStage:
    """D(E_dr(x)): from the checkpoints of RUN, or the exported weights of a folder."""

    def __init__(self, run, exported=None, vae="vae_final.pt", encoder="robust.pt"):
        if exported:
            self.vae = VAE(**sizes(common.exported(exported, "first_stage_model.encoder.")))
            own = self.vae.state_dict()
            weights = common.exported(exported, "first_stage_model.")
            self.vae.load_state_dict({k: v for k, v in weights.items() if k in own})
            weights = common.exported(exported, "first_stage_model.denoise_encoder.")
            deep = sizes(weights)["blocks"] - self.vae.config["blocks"]
            self.encoder = robust.new_encoder(self.vae, deep, weights)
        else:
            self.vae = vae_stage.load(run / vae)
            self.encoder = robust.load(run / encoder, self.vae)

    @torch.no_grad()
    def clean(self, u8):
        """uint8 (N, H, W, 3) -> the same"""
        return common.to_u8(self.vae.decode(self.vae.encode(common.to_tensor(u8), self.encoder)))


def sizes(encoder):
    """The configuration of an autoencoder by the weights of its encoder; `blocks` are those of the smallest size."""
    levels = 1 + max(int(k.split(".")[1]) for k in encoder if k.startswith("down."))
    ch = encoder["conv_in.weight"].shape[0]
    mult = [encoder[f"down.{i}.block.0.conv1.weight"].shape[0] // ch for i in range(levels)]
    blocks = len([k for k in encoder if k.startswith(f"down.{levels - 1}.block.") and k.endswith("conv1.weight")])
    return dict(ch=ch, mult=mult, z=encoder["conv_out.weight"].shape[0] // 2, blocks=blocks)


def shrink(u8, side=CACHE):
    """uint8 (H, W, 3) -> (side, side, 3)"""
    return np.clip(np.rint(degrade.resize(u8.astype(np.float32), side, side)), 0, 255).astype(np.uint8)


def cache(path, total, count, make, block=16):
    """The first `count` of the memory-mapped uint8 (total, CACHE, CACHE, 3), made by make(start, stop) in blocks; a
    killed run goes on."""
    mark = path.with_suffix(".count")
    path.parent.mkdir(parents=True, exist_ok=True)
    old = int(mark.read_text()) if mark.exists() and path.exists() else 0
    if not old or len(np.load(path, mmap_mode="r")) < total:
        tmp = path.with_suffix(".tmp")
        out = np.lib.format.open_memmap(tmp, mode="w+", dtype=np.uint8, shape=(total, CACHE, CACHE, 3))
        if old:
            out[:old] = np.load(path, mmap_mode="r")[:old]
        out.flush()
        tmp.replace(path)
    out = np.lib.format.open_memmap(path, mode="r+")
    for i in range(old, count, block):
        stop = min(count, i + block)
        out[i:stop] = make(i, stop)
        out.flush()
        mark.write_text(str(stop))
    if old < count:
        print(f"{path.name}: {count} pictures", flush=True)
    return np.load(path, mmap_mode="r")[:count]


def pictures(a):
    """Lists of (pictures, captions): clean ones, cleaned ones, and those watched by name."""
    folders = [(f, *scenes.load(a.run / f)) for f in a.folders]
    clean, cleaned, watched, stage1 = [], [], {}, None

    def keep(list_, name, x, captions):
        held = min(HELD, len(captions) // 4)
        list_.append((x[held:], captions[held:]))
        if len(x) >= held:
            watched[name] = np.array(x[:held]), captions[:held]

    for f, full, captions in folders:
        x = cache(a.run / a.name / f"{f}_clean.npy", len(full), len(full),
                  lambda i, j: np.stack([shrink(p) for p in full[i:j]]))
        keep(clean, f, x, captions)
    for n, (f, full, captions) in enumerate(folders):
        def first_stage(i, j):
            nonlocal stage1
            stage1 = stage1 or FirstStage(a.run, a.exported, a.vae, a.robust)
            return stage1.clean(np.stack([
                shrink(degrade.degrade(np.random.default_rng((a.seed, n, k)), full[k])) for k in range(i, j)]))

        count = min(len(full), a.cleaned[n % len(a.cleaned)])
        x = cache(a.run / a.name / f"{f}_cleaned.npy", len(full), count, first_stage)
        keep(cleaned, f + "_cleaned", x, captions)
    return clean, cleaned, watched


def views(rng, sources, count, side):
    """`count` pictures of the sources, uint8, turned, flipped and cut at random, and their captions."""
    sizes = np.cumsum([len(x) for x, _ in sources])
    cut = int(rng.integers(side, CACHE + 1))
    out, captions = np.empty((count, cut, cut, 3), np.uint8), []
    for n in range(count):
        i = int(rng.integers(sizes[-1]))
        s = int(np.searchsorted(sizes, i, side="right"))
        x, texts = sources[s]
        i -= int(sizes[s - 1]) if s else 0
        y0, x0 = rng.integers(0, CACHE - cut + 1, 2)
        p = np.rot90(x[i, y0:y0 + cut, x0:x0 + cut], rng.integers(4))
        out[n] = p[:, ::-1] if rng.random() < 0.5 else p
        captions.append(texts[i])
    return out, captions


def tensor(u8, side):
    """uint8 (N, H, H, 3) -> float (N, 3, side, side) in [0, 1]"""
    x = torch.from_numpy(np.ascontiguousarray(u8)).permute(0, 3, 1, 2).float() / 255
    if x.shape[-1] == side:
        return x
    return F.interpolate(x, size=(side, side), mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)


def words(caption):
    """The words of a caption that say something."""
    return set(caption.replace(",", "").split()) - {"a", "photo", "of", "the", "and", "background"}


def score(said, true):
    """Precision and recall of words over pairs of captions."""
    hits = sum(len(words(s) & words(t)) for s, t in zip(said, true))
    return hits / max(1, sum(len(words(s)) for s in said)), hits / max(1, sum(len(words(t)) for t in true))


def main(argv=None):
    ap = common.arguments("llava", minutes=60, lr=2e-3, batch=48)
    ap.add_argument("--folders", nargs="+", default=["scenes", "close"], help="scenes to learn from, in RUN")
    ap.add_argument("--cleaned", type=int, nargs="+", default=[1200],
                    help="how many are degraded and cleaned, of each folder or of all alike")
    ap.add_argument("--exported", type=Path, help="folder of exported weights whose first stage cleans; or RUN's:")
    ap.add_argument("--vae", default="vae_final.pt")
    ap.add_argument("--robust", default="robust.pt")
    ap.add_argument("--size", type=int, default=96, help="side of the picture that the tower sees")
    ap.add_argument("--patch", type=int, default=16)
    ap.add_argument("--tower", type=int, nargs=4, default=[96, 3, 3, 288], help="width, layers, heads, MLP")
    ap.add_argument("--text", type=int, nargs=4, default=[96, 2, 3, 192], help="the same of the language model")
    ap.add_argument("--pictures-only", action="store_true", help="make the pictures and stop")
    a = ap.parse_args(argv)
    torch.set_num_threads(a.threads)
    clean, cleaned, watched = pictures(a)
    if a.pictures_only:
        return
    torch.manual_seed(a.seed)
    path = a.run / f"{a.name}.pt"
    if path.exists():
        extra = common.load(path)["extra"]
        vocabulary, said = extra["vocabulary"], extra["words"]
    else:
        captions = [c for _, list_ in clean for c in list_]
        vocabulary = sentencepiece.learn(captions + [VICUNA, PROMPT.replace("<image>", "")] * 20, 600)
        said = sorted(set().union(*map(words, captions)))
    tok = sentencepiece.Tokenizer(*vocabulary)
    head, tail = PROMPT.split("<image>")
    model = LLaVA(len(tok.pieces), [sentencepiece.BOS, *tok.encode(head)], tok.encode(tail), a.size, a.patch, a.tower, a.text)
    tells = nn.Linear(a.tower[0], len(said))
    modules = {"llava": model.to(a.device), "words": tells.to(a.device)}
    print({k: sum(p.numel() for p in m.parameters()) for k, m in modules.items()}, len(tok.pieces), "ids", flush=True)
    stage = common.Stage(a, modules, weight_decay=0.05, betas=(0.9, 0.98))
    stage.extra |= {"config": model.config, "vocabulary": vocabulary, "words": said}
    place, known = {w: i for i, w in enumerate(said)}, {}

    def answers(captions):
        """(N, T) ids, padded with -100 behind the end"""
        for c in captions:
            if c not in known:
                known[c] = tok.encode(c) + [sentencepiece.EOS]
        rows = [known[c] for c in captions]
        return torch.tensor([r + [-100] * (max(map(len, rows)) - len(r)) for r in rows])

    def step():
        half = a.batch // 2 if any(len(x) for x, _ in cleaned) else 0
        shown = [views(stage.rng, kind, n, a.size) for kind, n in ((clean, a.batch - half), (cleaned, half)) if n]
        pixels = torch.cat([tensor(x, a.size) for x, _ in shown]).to(a.device)
        captions = [c for _, texts in shown for c in texts]
        want = answers(captions).to(a.device)
        features = model.see(pixels)
        logits = model(features, want[:, :-1].clamp(min=0)).float()
        write = F.cross_entropy(logits.flatten(0, 1), want.flatten(), ignore_index=-100)
        has = torch.zeros(len(captions), len(said))
        for i, c in enumerate(captions):
            for w in words(c):
                if w in place:
                    has[i, place[w]] = 1
        tell = F.binary_cross_entropy_with_logits(tells(features.mean(1)).float(), has.to(a.device))
        return write + 5 * tell, {"write": write.detach(), "tell": tell.detach()}

    def evaluate():
        out = {}
        for name, (x, true) in watched.items():
            said_ = [tok.decode(i) for i in model.write(tensor(x, a.size).to(a.device), sentencepiece.EOS)]
            out[f"{name}_precision"], out[f"{name}_recall"] = score(said_, true)
        print("\n".join(f"  {t} | {s}" for t, s in list(zip(true, said_))[:3]), flush=True)
        return out

    stage.run(step, evaluate, evaluate_every=240)


def load(path):
    """(tokenizer, the model with averaged weights, frozen)"""
    s = common.load(path)
    model = LLaVA(**s["extra"]["config"])
    model.load_state_dict(s["model"]["llava"])
    return sentencepiece.Tokenizer(*s["extra"]["vocabulary"]), model.requires_grad_(False).eval()


if __name__ == "__main__":
    main()
