"""SentencePiece's BPE, as LLaMA's tokenizer has it, with pieces of our own: learned from captions and prompt.

Ids: 0 unknown, 1 begin, 2 end of text, 256 bytes, the joined pieces (score minus their rank), single characters.
A space is written as U+2581; a text begins as if a space stood before it.
"""
import collections
import re

from .tokenizer import replace

SPACE = "\u2581"
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
BOS, EOS = 1, 2
# Pieces don't reach beyond a word with the space before it, a number's digit, or one other character.
PATTERN = re.compile(rf"{SPACE}?[^\W\d_]+|{SPACE}?\d|{SPACE}?[^\w\s{SPACE}]|{SPACE}|.", re.S)


def spaced(text):
    return SPACE + text.replace(" ", SPACE)


def learn(texts, most):
    """(pieces, scores, types) with at most so many joined pieces: the most frequent pair first."""
    words = collections.Counter(tuple(w) for t in texts for w in PATTERN.findall(spaced(t)))
    characters = sorted({c for w in words for c in w if c.isprintable()})
    joined = []
    while len(joined) < most:
        pairs = collections.Counter()
        for w, n in words.items():
            for p in zip(w, w[1:]):
                pairs[p] += n
        if not pairs:
            break
        a, b = min(pairs, key=lambda p: (-pairs[p], p))
        if a + b not in joined:
            joined.append(a + b)
        rest = collections.Counter()
        for w, n in words.items():
            rest[replace(w, a, b)] += n
        words = rest
    pieces = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)] + joined + characters
    scores = [0.0] * 259 + [-float(i) for i in range(len(joined) + len(characters))]
    types = [UNKNOWN, CONTROL, CONTROL] + [BYTE] * 256 + [NORMAL] * (len(joined) + len(characters))
    return pieces, scores, types


class Tokenizer:
    def __init__(self, pieces, scores, types):
        self.pieces, self.scores, self.types = pieces, scores, types
        self.ids = {p: i for i, p in enumerate(pieces) if types[i] == NORMAL}

    def encode(self, text):
        """Ids, without the one that begins a text."""
        s = list(spaced(text)) if text else []
        while True:
            found = [(-self.scores[self.ids[a + b]], i) for i, (a, b) in enumerate(zip(s, s[1:])) if a + b in self.ids]
            if not found:
                break
            i = min(found)[1]
            s[i:i + 2] = [s[i] + s[i + 1]]
        out = []
        for p in s:
            out += [self.ids[p]] if p in self.ids else [3 + b for b in p.encode()]
        return out

    def decode(self, ids):
        text = b"".join(bytes([i - 3]) if self.types[i] == BYTE else self.pieces[i].encode()
                        for i in ids if self.types[i] in (BYTE, NORMAL)).decode(errors="replace")
        return text.replace(SPACE, " ").removeprefix(" ")
