"""Content refinement: of a field that is longer than a segment, the words that tell it apart from the other news.

Source: SpeedyFeed (Xiao et al., WWW 2022), section 4.3. Words are scored by BM25 without length normalisation over one
field's corpus, and the best are kept, each once, whole, where it stands first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import regex

MOST_KEYWORDS = 100
MOST_OFTEN = 99  # a word's frequency is clipped here
# Letters, numbers and _, as Python's \w, and marks: without those, Hindi and pointed Hebrew fall into single letters.
_WORD = regex.compile(r"[\p{L}\p{N}\p{M}_]+|[.,!?;|]")
_K2 = 2.0


@dataclass(frozen=True, slots=True)
class Corpus:
    """How rare the words of one field are."""

    idf: Mapping[str, float]
    unseen: float  # idf of a word that is not among them

    def idf_of(self, word: str) -> float:
        """The word's weight, greater the rarer it is; never below 0."""
        return self.idf.get(word, self.unseen)


@dataclass(frozen=True, slots=True)
class Keyword:
    """A word kept of a text."""

    word: str
    frequency: int  # occurrences in the text, clipped at MOST_OFTEN
    position: int  # of the first, counted in words and punctuation marks
    score: float


def words_of(text: str) -> list[str]:
    """The lower-cased words and punctuation marks of a text, in their order."""
    found: list[str] = _WORD.findall(text.lower())
    return found


def is_keyword(word: str, stop_words: Collection[str]) -> bool:
    """Whether the word can tell texts apart: no stop word, no single character, no punctuation."""
    return len(word) > 1 and word not in stop_words


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


def keywords_that_fit(
    keywords: Sequence[Keyword], pieces: Iterable[int], room: int, *, by_score: bool = False
) -> list[Keyword]:
    """Those of the keywords that fit into `room` word pieces, whole and in text order; `pieces` counts each one's.

    They are taken in text order, or with `by_score` best first; one that does not fit any more is passed over.
    """
    counted = sorted(zip(keywords, pieces, strict=True), key=lambda pair: pair[0].position)
    if by_score:
        counted.sort(key=lambda pair: -pair[0].score)  # of equal ones still the earlier
    kept = []
    for keyword, length in counted:
        if length <= room:
            kept.append(keyword)
            room -= length
    return sorted(kept, key=lambda keyword: keyword.position)
