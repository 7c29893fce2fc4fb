"""Content refinement: keeps the words that distinguish a field longer than a segment from other news.

Source: SpeedyFeed (Xiao et al., WWW 2022), section 4.3. Words are scored by BM25 without length normalisation over one
field's corpus. The best complete words are kept, each once, at its first position.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import regex

MOST_KEYWORDS = 100
MOST_OFTEN = 99  # a word's frequency is clipped here
# Letters, numbers and _, as Python's \w, and marks: without marks, Hindi and pointed Hebrew split into single letters.
_WORD = regex.compile(r"[\p{L}\p{N}\p{M}_]+|[.,!?;|]")
_K2 = 2.0


@dataclass(frozen=True, slots=True)
class Corpus:
    """The idf of the words of one field."""

    idf: Mapping[str, float]
    unseen: float  # idf of a word that is not among them

    def idf_of(self, word: str) -> float:
        """The word's weight: higher for rarer words, never below 0."""
        return self.idf.get(word, self.unseen)


@dataclass(frozen=True, slots=True)
class Keyword:
    """A word chosen from a text."""

    word: str
    frequency: int  # occurrences in the text, clipped at MOST_OFTEN
    position: int  # of the first occurrence, in words and punctuation marks
    score: float


def words_of(text: str) -> list[str]:
    """The lower-cased words and punctuation marks of a text, in order."""
    found: list[str] = _WORD.findall(text.lower())
    return found


def is_keyword(word: str, stop_words: Collection[str]) -> bool:
    """Whether the word can distinguish texts: no stop word, single character or punctuation."""
    return len(word) > 1 and word not in stop_words


def keywords_of(text: str, corpus: Corpus, stop_words: Collection[str]) -> list[Keyword]:
    """The MOST_KEYWORDS words of the text with the highest scores, best first; equal scores by position."""
    first: dict[str, int] = {}
    count: Counter[str] = Counter()
    for position, word in enumerate(words_of(text)):
        if is_keyword(word, stop_words):
            first.setdefault(word, position)
            count[word] += 1
    scored = [
        Keyword(word, min(often, MOST_OFTEN), first[word], corpus.idf_of(word) * often * (_K2 + 1) / (often + _K2))
        for word, often in count.items()
    ]
    return sorted(scored, key=lambda keyword: (-keyword.score, keyword.position))[:MOST_KEYWORDS]


def keywords_that_fit(
    keywords: Sequence[Keyword], pieces: Iterable[int], room: int, *, by_score: bool = False
) -> list[Keyword]:
    """The keywords that fit completely into `room` word pieces, in text order. `pieces`: word pieces of each keyword.

    Keywords are chosen in text order, or with `by_score` best first. One that does not fit is skipped.
    """
    counted = sorted(zip(keywords, pieces, strict=True), key=lambda pair: pair[0].position)
    if by_score:
        counted.sort(key=lambda pair: -pair[0].score)  # stable: equal scores stay in text order
    kept = []
    for keyword, length in counted:
        if length <= room:
            kept.append(keyword)
            room -= length
    return sorted(kept, key=lambda keyword: keyword.position)
