"""A slow, obvious reference of content refinement: each formula of SpeedyFeed's section 4.3 as one function."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence


def slow_words(text: str) -> list[str]:
    """Runs of letters, digits, marks and underscores, and each punctuation mark of .,!?;| by itself."""
    words, current = [], ""
    for sign in text.lower() + " ":
        if sign.isalnum() or sign == "_" or unicodedata.category(sign).startswith("M"):
            current += sign
            continue
        words += [current] if current else []
        words += [sign] if sign in ".,!?;|" else []
        current = ""
    return words


def slow_idf(texts: Sequence[Sequence[str]]) -> dict[str, float]:
    """idf of every word of the texts, each a list of words."""
    held = [set(words) for words in texts if words]
    raw = {}
    for word in set().union(*held):
        df = sum(word in words for words in held)
        raw[word] = math.log(len(held) - df + 0.5) - math.log(df + 0.5)
    positive = [idf for idf in raw.values() if idf > 0]
    low = sum(positive) / len(positive) / 4 if positive else 1.0
    return {word: idf if idf > 0 else low for word, idf in raw.items()}


def slow_keywords(
    words: Sequence[str],
    idf: Mapping[str, float],
    stop: Collection[str],
    pieces: Callable[[str], int],
    room: int,
    *,
    by_score: bool,
) -> list[tuple[str, int, int]]:
    """(word, frequency, position) of the words kept from a text, in text order."""
    scored = []
    for word in set(words):
        if word in stop or len(word) == 1:
            continue
        often = words.count(word)
        scored.append((idf[word] * often * 3 / (often + 2), words.index(word), word, often))
    scored.sort(key=lambda row: (-round(row[0], 9), row[1]))  # equal scores may differ in their last bits
    kept, used = [], 0
    for _, position, word, often in scored[:100] if by_score else sorted(scored[:100], key=lambda row: row[1]):
        if used + pieces(word) <= room:
            used += pieces(word)
            kept.append((word, min(often, 99), position))
    return sorted(kept, key=lambda row: row[2])
