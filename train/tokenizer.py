"""CLIP's byte-level BPE with merges of our own, learned from the captions and the quality words.

Vocabulary: 256 bytes, the same with </w>, the merges, start, end.
"""
import collections
import html
import re
import unicodedata

# \p{L}+ and \p{N} of the usual pattern, in the words of Python's re
PATTERN = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[^\W\d_]+|\d|(?:[^\s\w]|_)+")
LENGTH = 77

POSITIVE = ("Cinematic, High Contrast, highly detailed, taken using a Canon EOS R camera, hyper detailed photo - "
            "realistic maximum detail, 32k, Color Grading, ultra HD, extreme meticulous detailing, skin pore detailing, "
            "hyper sharpness, perfect without deformations.")
NEGATIVE = ("painting, oil painting, illustration, drawing, art, sketch, oil painting, cartoon, CG Style, 3D render, "
            "unreal engine, blurring, dirty, messy, worst quality, low quality, frames, watermark, signature, "
            "jpeg artifacts, deformed, lowres, over-smooth")


def byte_alphabet():
    """The 256 bytes as printable characters: 33-126, 161-172, 174-255, then the rest from U+0100 on."""
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in keep]
    return {b: chr(b) for b in keep} | {b: chr(256 + i) for i, b in enumerate(rest)}


ALPHABET = byte_alphabet()


def clean(text):
    """Curly quotes, NFC, entities, white space, case."""
    text = text.translate({0x2018: "'", 0x2019: "'", 0x201c: '"', 0x201d: '"'})
    text = unicodedata.normalize("NFC", text)
    return " ".join(html.unescape(html.unescape(text)).split()).lower()


def words(text):
    """Each word as a tuple of symbols, the last with </w>."""
    for w in PATTERN.findall(clean(text)):
        s = [ALPHABET[b] for b in w.encode()]
        yield tuple(s[:-1] + [s[-1] + "</w>"])


def replace(word, a, b):
    """Joins every a, b in the word."""
    out, i = [], 0
    while i < len(word):
        if i + 1 < len(word) and word[i] == a and word[i + 1] == b:
            out.append(a + b)
            i += 2
        else:
            out.append(word[i])
            i += 1
    return tuple(out)


def learn(texts, count):
    """The `count` most useful merges as (a, b) pairs; ties broken by the pair itself."""
    vocabulary = collections.Counter(w for t in texts for w in words(t))
    merges = []
    while len(merges) < count:
        pairs = collections.Counter()
        for w, n in vocabulary.items():
            for p in zip(w, w[1:]):
                pairs[p] += n
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], p))
        merges.append(best)
        merged = collections.Counter()
        for w, n in vocabulary.items():
            merged[replace(w, *best)] += n
        vocabulary = merged
    return merges


class Tokenizer:
    def __init__(self, merges):
        self.merges = [tuple(m) for m in merges]
        self.rank = {m: i for i, m in enumerate(self.merges)}
        symbols = list(ALPHABET.values())
        symbols += [s + "</w>" for s in symbols] + [a + b for a, b in self.merges]
        self.symbols = symbols
        self.ids = {s: i for i, s in enumerate(symbols)}
        self.start, self.end = len(symbols), len(symbols) + 1
        self.size = len(symbols) + 2
        self.cache = {}

    def word(self, w):
        if w not in self.cache:
            s = w
            while len(s) > 1:
                pair = min(zip(s, s[1:]), key=lambda p: self.rank.get(p, 1 << 30))
                if pair not in self.rank:
                    break
                s = replace(s, *pair)
            self.cache[w] = [self.ids[x] for x in s]
        return self.cache[w]

    def encode(self, text, pad):
        """77 ids: start, words, end, then pad; cut so that the end stays."""
        ids = [i for w in words(text) for i in self.word(w)][:LENGTH - 2]
        ids = [self.start, *ids, self.end]
        return ids + [pad] * (LENGTH - len(ids))

    def decode(self, ids):
        back = {c: b for b, c in ALPHABET.items()}
        text = "".join(self.symbols[i] for i in ids if i < len(self.symbols)).replace("</w>", " ")
        return b"".join(b" " if c == " " else bytes([back[c]]) for c in text).decode(errors="replace").strip()
