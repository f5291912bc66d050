"""Tokenizer: CLIP's rules on our merges."""
from train.tokenizer import NEGATIVE, POSITIVE, Tokenizer, learn, words

TEXTS = ["a photo of red circles, wood texture", POSITIVE, NEGATIVE]


def test_round_trip():
    tok = Tokenizer(learn(TEXTS, 200))
    for text in ("a photo of red circles", "unseen wörds & 42 emoji 🙂"):
        assert tok.decode(tok.encode(text, tok.end)[1:]).replace(" ", "") == text.replace(" ", "")


def test_frame_padding_and_cut():
    tok = Tokenizer(learn(TEXTS, 50))
    ids = tok.encode("red", 0)
    assert len(ids) == 77 and ids[0] == tok.start == tok.size - 2 and tok.end in ids and ids[-1] == 0
    assert tok.encode("word " * 200, 0)[-1] == tok.end


def test_words():
    assert ["".join(w) for w in words("It’s  32K&amp;co_2")] == ["it</w>", "'s</w>", "3</w>", "2</w>", "k</w>", "&</w>",
                                                                 "co</w>", "_</w>", "2</w>"]


def test_learning_is_deterministic():
    assert learn(TEXTS, 80) == learn(list(TEXTS), 80)
