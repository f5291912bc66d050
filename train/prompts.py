"""Captions with the quality words of pipeline.md, as training sees them."""
from .tokenizer import NEGATIVE, POSITIVE


BAD = 1 / 6  # the share of spoiled pictures, whose prompts are negative words


def some(rng, words):
    """All of the comma-separated words mostly, else a few of them."""
    if rng.random() < 0.6:
        return words
    parts = words.split(", ")
    keep = rng.permutation(len(parts))[:rng.integers(1, len(parts))]
    return ", ".join(parts[k] for k in keep)


def prompt(rng, caption, good, drop=0.1):
    """The text of one sample: '' at times; clean pictures may carry positive words, spoiled ones carry negative."""
    if rng.random() < drop:
        return ""
    if good:
        caption = caption if rng.random() < 0.85 else ""
        words = some(rng, POSITIVE) if rng.random() < 0.75 else ""
    else:
        caption = caption if rng.random() < 0.3 else ""
        words = some(rng, NEGATIVE)
    return ", ".join(p for p in (caption, words) if p)
