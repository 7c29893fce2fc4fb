"""Content refinement: of a field that is longer than a segment, the words that tell it apart from the other news.

Source: SpeedyFeed (Xiao et al., WWW 2022), section 4.3. Words are scored by BM25 without length normalisation over one
field's corpus, and the best are kept, each once, whole, where it stands first.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

MOST_KEYWORDS = 100
MOST_OFTEN = 99  # a word's frequency is clipped here
_WORD = re.compile(r"[\w]+|[.,!?;|]")
_K2 = 2.0
_FREQUENT_SHARE = 0.25  # of the mean positive idf: what a word in half of all texts or more is worth


@dataclass(frozen=True, slots=True)
class Corpus:
    """How rare the words of one field are: the texts that have any, and each word's idf, never below 0."""

    texts: int
    idf: Mapping[str, float]

    def idf_of(self, word: str) -> float:
        """Of a word that the corpus has not seen, too: the rarest of all."""
        found = self.idf.get(word)
        return _raw_idf(0, self.texts) if found is None else found


@dataclass(frozen=True, slots=True)
class Keyword:
    """A word kept of a text."""

    word: str
    frequency: int  # occurrences in the text, clipped at MOST_OFTEN
    position: int  # of the first, counted in words and punctuation marks
    score: float


def words_of(text: str) -> list[str]:
    """The lower-cased words and punctuation marks of a text, in their order."""
    return _WORD.findall(text.lower())


def is_keyword(word: str, stop_words: Collection[str]) -> bool:
    """Whether the word can tell texts apart: no stop word, no single character, no punctuation."""
    return len(word) > 1 and word not in stop_words


def corpus_of(texts_with: Mapping[str, int], texts: int) -> Corpus:
    """The corpus in which each word stands in `texts_with` of `texts` texts.

    Where that are half of them or more, the idf is a quarter of the mean positive one, or 1 where none is positive.
    """
    raw = {word: _raw_idf(count, texts) for word, count in texts_with.items()}
    positive = [idf for idf in raw.values() if idf > 0]
    frequent = _FREQUENT_SHARE * math.fsum(positive) / len(positive) if positive else 1.0
    return Corpus(texts, {word: idf if idf > 0 else frequent for word, idf in raw.items()})


def keywords_of(text: str, corpus: Corpus, stop_words: Collection[str]) -> list[Keyword]:
    """The best MOST_KEYWORDS words of the text, best first; of equal ones the earlier."""
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


def fitting(keywords: Sequence[Keyword], pieces: Iterable[int], room: int, *, by_score: bool = False) -> list[Keyword]:
    """Those of the keywords that fit into `room` word pieces, whole and in text order; `pieces` counts each one's.

    They are taken in text order, or with `by_score` best first; one that does not fit any more is passed over.
    """
    counted = list(zip(keywords, pieces, strict=True))
    if not by_score:
        counted.sort(key=lambda pair: pair[0].position)
    kept = []
    for keyword, length in counted:
        if length <= room:
            kept.append(keyword)
            room -= length
    return sorted(kept, key=lambda keyword: keyword.position)


def _raw_idf(texts_with: int, texts: int) -> float:
    return math.log(texts - texts_with + 0.5) - math.log(texts_with + 0.5)
