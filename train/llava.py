"""Stage 5: a small LLaVA, which describes pictures in the scenes' own words.

    python -m train.llava --run RUN --minutes 60 --threads 1 --bf16

First the pictures are made once, at the side `CACHE`, into RUN/llava: the scenes as they are, and `--cleaned` of each
folder degraded and then cleaned by the degradation-robust encoder and the decoder, as the paper shows them to LLaVA.
Tower, projector and language model learn from nothing, for no trained tower is to be had. What makes few samples do:

- The tower is told patch by patch what is there: whether the patch is the background's, or the first, second or third
  thing's that the caption names, and that thing's colour, texture and shape (`Answers`; linear layers on the features,
  thrown away afterwards). At first it learns from this alone.
- Every view is new: cut, turned, flipped, its channels swapped; its caption is made anew of what is seen in it.
- Patches start as principal components, places as sines and cosines, and matrices are moved by Muon.
"""
import functools
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

from . import common, degrade, muon, robust, scenes, sentencepiece, vae as vae_stage
from .models.llava import LLaVA
from .models.vae import VAE
from .textures import TEXTURES

CACHE = 128  # side of the pictures kept; the tower sees crops of them
HELD = 32  # scenes of each folder that are watched, never learned from; at most a quarter of it
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
            self.encoder = robust.load([run / encoder], self.vae)

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


def cache(path, total, count, make, block=16, shape=(CACHE, CACHE, 3)):
    """The first `count` of the memory-mapped uint8 (total, *shape), made by make(start, stop) in blocks; a killed run
    goes on."""
    mark = path.with_suffix(".count")
    path.parent.mkdir(parents=True, exist_ok=True)
    old = int(mark.read_text()) if mark.exists() and path.exists() else 0
    if not old or len(np.load(path, mmap_mode="r")) < total:
        tmp = path.with_suffix(".tmp")
        out = np.lib.format.open_memmap(tmp, mode="w+", dtype=np.uint8, shape=(total, *shape))
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


class Source:
    """A folder's pictures, and what they show."""

    def __init__(self, name, shown, true, owners, contents):
        self.name = name
        self.shown = shown  # uint8 (N, CACHE, CACHE, 3): what the captioner sees; true ones of the same
        self.true, self.owners, self.contents = true, owners, contents
        self.held = min(HELD, len(shown) // 4)

    def __len__(self):
        return len(self.shown) - self.held

    def watched(self):
        """Pictures that are never learned from, and their captions."""
        n = range(self.held)
        return np.array(self.shown[:self.held]), [scenes.describe(self.true[i], self.owners[i], *self.contents[i]) for i in n]

    def view(self, rng, i, cut):
        """Cut, turned, flipped, and with other colours: what is seen, and the same of true picture and owners."""
        i += self.held
        y, x = rng.integers(0, CACHE - cut + 1, 2)
        turns, flip = rng.integers(4), rng.random() < 0.5
        colours = rng.permutation(3) if rng.random() < 0.6 else np.arange(3)

        def part(p):
            p = np.rot90(p[i, y:y + cut, x:x + cut], turns)
            return p[:, ::-1] if flip else p

        things, marks = self.contents[i]
        grown = [scenes.Thing(t.kind, t.texture, t.whole * (CACHE / cut) ** 2) for t in things]
        true = part(self.true)[..., colours]
        shown = true if self.shown is self.true else part(self.shown)[..., colours]
        return shown, true, part(self.owners), grown, marks


def pictures(a):
    """The sources of clean pictures, and of cleaned ones."""
    clean, cleaned, stage1 = [], [], None
    for n, f in enumerate(a.folders):
        full, _ = scenes.load(a.run / f)
        full_owners, contents = scenes.load_contents(a.run / f, len(full))
        folder, side = a.run / a.name, full.shape[1]
        near = (np.arange(CACHE) * 2 + 1) * side // (2 * CACHE)
        true = cache(folder / f"{f}_clean.npy", len(full), len(full), lambda i, j: np.stack([shrink(p) for p in full[i:j]]))
        owners = cache(folder / f"{f}_owners.npy", len(full), len(full), lambda i, j: full_owners[i:j][:, near][:, :, near],
                       shape=(CACHE, CACHE))
        clean.append(Source(f, true, true, owners, contents))

        def first_stage(i, j):
            nonlocal stage1
            stage1 = stage1 or FirstStage(a.run, a.exported, a.vae, a.robust)
            return stage1.clean(np.stack([
                shrink(degrade.degrade(np.random.default_rng((a.seed, n, k)), full[k])) for k in range(i, j)]))

        count = min(len(full), a.cleaned[n % len(a.cleaned)])
        x = cache(folder / f"{f}_cleaned.npy", len(full), count, first_stage)
        cleaned.append(Source(f + "_cleaned", x, true, owners, contents))
    return clean, cleaned


def views(rng, sources, count, side):
    """`count` views of the sources at random: what is seen (N, 3, side, side), and N of (true picture, owners, things,
    marks) of the same size."""
    sizes = np.cumsum([len(s) for s in sources])
    cut = int(rng.integers(side, CACHE + 1))
    near = (np.arange(side) * 2 + 1) * cut // (2 * side)
    shown, true, rest = [], [], []
    for _ in range(count):
        i = int(rng.integers(sizes[-1]))
        s = int(np.searchsorted(sizes, i, side="right"))
        p, t, owners, things, marks = sources[s].view(rng, i - (int(sizes[s - 1]) if s else 0), cut)
        shown.append(p)
        true.append(None if t is p else t)
        rest.append((owners[near][:, near], things, marks))
    x = tensor(np.stack(shown), side)
    y = x if true[0] is None else tensor(np.stack(true), side)
    u8 = (y * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
    return x, [(t, *r) for t, r in zip(u8, rest)]


def tensor(u8, side):
    """uint8 (N, H, H, 3) -> float (N, 3, side, side) in [0, 1]"""
    x = torch.from_numpy(np.ascontiguousarray(u8)).permute(0, 3, 1, 2)
    if x.shape[-1] != side:
        x = F.interpolate(x, size=(side, side), mode="bicubic", antialias=True, align_corners=False)
    return x.float().contiguous() / 255


COLOURS = ("black", "white", "grey", "brown", *dict(scenes.HUES))
FILLS = ("", "sky", *TEXTURES)
SLOTS = 5  # background, first, second, third thing named, any other


class Answers(nn.Module):
    """Linear layers that tell of each patch's features: slot, colour, texture, shape."""

    def __init__(self, c):
        super().__init__()
        self.sizes = [SLOTS, len(COLOURS), len(FILLS), 1 + len(scenes.SHAPES)]
        self.tell = nn.Linear(c, sum(self.sizes))

    def forward(self, features, want):
        """Mean errors of the four; want (N, patches, 4), -100 where there is no answer"""
        parts = self.tell(features).float().split(self.sizes, -1)
        return [F.cross_entropy(p.flatten(0, 1), want[..., k].flatten(), ignore_index=-100) for k, p in enumerate(parts)]

    @staticmethod
    def true(view, patch):
        """(patches, 4) of a view, by the owner of each patch's middle"""
        u8, owners, things, _ = view
        table = np.full((256, 4), -100)
        table[1:, 0] = SLOTS - 1
        for slot, (i, _, colour) in enumerate(scenes.seen(u8, owners, things)):
            t = things[i]
            table[i] = (0 if i == 0 else min(slot + 1, SLOTS - 1), COLOURS.index(colour), FILLS.index(t.texture),
                        scenes.SHAPES.index(t.kind) + 1 if t.kind else 0)
        return table[owners[patch // 2::patch, patch // 2::patch]].reshape(-1, 4)


def words(caption):
    """The words of a caption that say something."""
    return set(caption.replace(",", "").split()) - {"a", "photo", "of", "the", "and", "background"}


def score(said, true):
    """Precision and recall of words over pairs of captions."""
    hits = sum(len(words(s) & words(t)) for s, t in zip(said, true))
    return hits / max(1, sum(len(words(s)) for s in said)), hits / max(1, sum(len(words(t)) for t in true))


def main(argv=None):
    ap = common.arguments("llava", minutes=60, lr=3e-3, batch=32)
    ap.add_argument("--folders", nargs="+", default=["scenes", "close"], help="scenes to learn from, in RUN")
    ap.add_argument("--cleaned", type=int, nargs="+", default=[400],
                    help="how many are degraded and cleaned, of each folder or of all alike")
    ap.add_argument("--exported", type=Path, help="folder of exported weights whose first stage cleans; or RUN's:")
    ap.add_argument("--vae", default="vae_final.pt")
    ap.add_argument("--robust", default="robust.pt")
    ap.add_argument("--size", type=int, default=96, help="side of the picture that the tower sees")
    ap.add_argument("--patch", type=int, default=12)
    ap.add_argument("--tower", type=int, nargs=4, default=[128, 4, 4, 384], help="width, layers, heads, MLP")
    ap.add_argument("--text", type=int, nargs=4, default=[96, 2, 3, 192], help="the same of the language model")
    ap.add_argument("--alone", type=float, default=0.3, help="share of the time in which the tower learns alone")
    ap.add_argument("--pictures-only", action="store_true", help="make the pictures and stop")
    a = ap.parse_args(argv)
    torch.set_num_threads(a.threads)
    clean, cleaned = pictures(a)
    if a.pictures_only:
        return
    torch.manual_seed(a.seed)
    path = a.run / f"{a.name}.pt"
    if path.exists():
        vocabulary = common.load(path)["extra"]["vocabulary"]
    else:
        captions = [c for f in a.folders for c in scenes.load(a.run / f)[1]]
        vocabulary = sentencepiece.learn(captions + [VICUNA, PROMPT.replace("<image>", "")] * 20, 600)
    tok = sentencepiece.Tokenizer(*vocabulary)
    head, tail = PROMPT.split("<image>")
    model = LLaVA(len(tok.pieces), [sentencepiece.BOS, *tok.encode(head)], tok.encode(tail), a.size, a.patch, a.tower, a.text)
    model.v.start((views(np.random.default_rng(a.seed), clean, 256, a.size)[0] - model.mean) / model.std)
    modules = {"llava": model.to(a.device), "answers": Answers(a.tower[0]).to(a.device)}
    print({k: sum(p.numel() for p in m.parameters()) for k, m in modules.items()}, len(tok.pieces), "ids", flush=True)
    matrices = [p for name, p in model.named_parameters() if p.dim() == 2 and "embd" not in name]
    stage = common.Stage(a, modules, weight_decay=0.05, betas=(0.9, 0.98), optimizer=functools.partial(muon.Muon, matrices))
    stage.extra |= {"config": model.config, "vocabulary": vocabulary}
    known = {}

    def answers(captions):
        """(N, T) ids, padded with -100 behind the end"""
        for c in captions:
            if c not in known:
                known[c] = tok.encode(c) + [sentencepiece.EOS]
        rows = [known[c] for c in captions]
        return torch.tensor([r + [-100] * (max(map(len, rows)) - len(r)) for r in rows])

    def step():
        few = a.batch // 3 if any(map(len, cleaned)) else 0
        shown = [views(stage.rng, kind, n, a.size) for kind, n in ((clean, a.batch - few), (cleaned, few)) if n]
        pixels = torch.cat([x for x, _ in shown]).to(a.device)
        true = [v for _, list_ in shown for v in list_]
        features = model.see(pixels)
        parts = modules["answers"](features, torch.from_numpy(np.stack([Answers.true(v, a.patch) for v in true])).to(a.device))
        numbers = {k: p.detach() for k, p in zip(("slot", "colour", "texture", "shape"), parts)}
        if stage.progress() < a.alone:
            return sum(parts), numbers
        want = answers([scenes.describe(*v) for v in true]).to(a.device)
        logits = model(features, want[:, :-1].clamp(min=0)).float()
        write = F.cross_entropy(logits.flatten(0, 1), want.flatten(), ignore_index=-100)
        return 2 * write + sum(parts), numbers | {"write": write.detach()}

    def evaluate():
        if stage.progress() < a.alone:
            return {}
        out = {}
        for s in (*clean, *cleaned):
            x, true = s.watched()
            if len(x):
                said = [tok.decode(i) for i in model.write(tensor(x, a.size).to(a.device), sentencepiece.EOS)]
                out[f"{s.name}_precision"], out[f"{s.name}_recall"] = score(said, true)
                print("\n".join(f"  {t} | {s}" for t, s in list(zip(true, said))[:3]), flush=True)
        return out

    stage.run(step, evaluate, evaluate_every=600)


def load(path):
    """(tokenizer, the model with averaged weights, frozen)"""
    s = common.load(path)
    model = LLaVA(**s["extra"]["config"])
    model.load_state_dict(s["model"]["llava"])
    return sentencepiece.Tokenizer(*s["extra"]["vocabulary"]), model.requires_grad_(False).eval()


if __name__ == "__main__":
    main()
