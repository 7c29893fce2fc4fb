"""Converts texts to token segments. A text that is too long becomes its keywords, with frequency and position."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from pipelines.news.refine import Corpus, Keyword, keywords_of, keywords_that_fit
from pipelines.news.segmenting import Segmenting
from schemas.news import FIELDS

_AT_ONCE = 1 << 19  # approximate characters per call: the tokenizer library takes 200 bytes per token


@dataclass(frozen=True, slots=True)
class Refinement:
    """Stop words and corpora for the long fields of one source."""

    stop_words: frozenset[str]
    corpora: Mapping[str, Corpus]  # by field; without a corpus every word is unseen


class Segment(NamedTuple):
    """Tokens of one field, whose complete text has `full`. Frequency and position are empty unless it was refined."""

    tokens: list[int]
    full: int
    frequency: Sequence[int] = ()
    position: Sequence[int] = ()


class Segmenter:
    """Built once per task. `refinements`: by source; without one, a long field keeps its start."""

    def __init__(self, segmenting: Segmenting, refinements: Mapping[str, Refinement]) -> None:
        self._settings = segmenting
        self._refinements = refinements
        self._tokenizer = _build_tokenizer(segmenting)
        self._before, self._after = _special_tokens(self._tokenizer)
        self._room = segmenting.tokens_per_segment - len(self._before) - len(self._after)

    def segments(self, texts: Sequence[tuple[str, str, str]]) -> list[Segment]:
        """A segment for each (source, field, text), in order."""
        return list(chain.from_iterable(self._segments(part) for part in _parts(texts, _AT_ONCE)))

    def _segments(self, texts: list[tuple[str, str, str]]) -> list[Segment]:
        encodings = self._tokenizer.encode_batch_fast([text for _, _, text in texts], add_special_tokens=False)
        around = len(self._before) + len(self._after)
        cut = [Segment(self._framed(encoding.ids[: self._room]), len(encoding.ids) + around) for encoding in encodings]
        long = [place for place, found in enumerate(cut) if found.full > self._settings.tokens_per_segment]
        keywords = {place: self._keywords(*texts[place]) for place in long}
        refinable = [(place, found) for place, found in keywords.items() if found]
        joined = self._tokenizer.encode_batch(
            [" ".join(keyword.word for keyword in found) for _, found in refinable], add_special_tokens=False
        )
        for (place, found), encoding in zip(refinable, joined, strict=True):
            cut[place] = self._refined(found, encoding, cut[place])
        return cut

    def _keywords(self, source: str, field: str, text: str) -> list[Keyword]:
        """The keywords in text order; none if long fields keep their start."""
        refinement = self._refinements.get(source)
        if not self._settings.refines or refinement is None:
            return []
        found = keywords_of(text, refinement.corpora.get(field, _NO_CORPUS), refinement.stop_words)
        return sorted(found, key=lambda keyword: keyword.position)  # some tokenizers treat the first word differently

    def _refined(self, keywords: list[Keyword], encoding: Encoding, start: Segment) -> Segment:
        """The keywords that fit; `start` if none does, as in scripts without spaces between words."""
        ids = _ids_by_word([keyword.word for keyword in keywords], encoding)
        ids_of = dict(zip(keywords, ids, strict=True))
        kept = keywords_that_fit(keywords, map(len, ids), self._room, by_score=self._settings.select == "score")
        tokens = [token for keyword in kept for token in ids_of[keyword]]
        if not tokens:
            return start
        before, after = [0] * len(self._before), [0] * len(self._after)
        frequency = [keyword.frequency for keyword in kept for _ in ids_of[keyword]]
        position = [keyword.position + 1 for keyword in kept for _ in ids_of[keyword]]
        return Segment(self._framed(tokens), start.full, before + frequency + after, before + position + after)

    def _framed(self, ids: list[int]) -> list[int]:
        return self._before + ids + self._after


def segment_columns(
    segmenter: Segmenter, sources: Sequence[str], texts: Mapping[str, Sequence[str]]
) -> dict[str, pa.Array]:
    """The segment columns of ITEM_TOKENS, one row per item. `texts`: by field, in the order of FIELDS.

    An item without text has one segment of its first field, with only the special tokens.
    """
    names = list(texts)
    text_NF = np.array([list(column) for column in texts.values()], object).reshape(len(names), -1).T
    holds_NF: NDArray[np.bool_] = text_NF != ""
    holds_NF[~holds_NF.any(axis=1), 0] = True
    item, column = np.nonzero(holds_NF)
    asked = [(sources[i], names[c], text_NF[i, c]) for i, c in zip(item.tolist(), column.tolist(), strict=True)]
    made = segmenter.segments(asked)
    starts = pa.array(np.concatenate([[0], np.cumsum(holds_NF.sum(axis=1))]).astype(np.int32))
    numbers = np.array([FIELDS.index(name) for name in names], np.int32)[column]
    lists = pa.list_(pa.int32())
    columns = {
        "segment_field": pa.array(numbers, pa.int32()),
        "segment_tokens": pa.array([segment.tokens for segment in made], lists),
        "segment_full_tokens": pa.array([segment.full for segment in made], pa.int32()),
        "segment_frequency": pa.array([segment.frequency for segment in made], lists),
        "segment_position": pa.array([segment.position for segment in made], lists),
    }
    return {name: pa.ListArray.from_arrays(starts, values) for name, values in columns.items()}


_NO_CORPUS = Corpus({}, 1.0)


@lru_cache(maxsize=2)  # a worker makes several segmenters, and building the tokenizer takes most of their time
def _build_tokenizer(segmenting: Segmenting) -> Tokenizer:
    return segmenting.build()


def _special_tokens(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """The special tokens that the tokenizer puts before and after a text."""
    encoding = tokenizer.encode("a")
    special, ids = encoding.special_tokens_mask, encoding.ids
    text = [place for place, is_special in enumerate(special) if not is_special]
    first, behind = (text[0], text[-1] + 1) if text else (len(ids), len(ids))
    return ids[:first], ids[behind:]


def _ids_by_word(words: Sequence[str], encoding: Encoding) -> list[list[int]]:
    """The ids of each word of `words`, which were joined by spaces for encoding; a space belongs to the next word."""
    word_of_character = [place for place, word in enumerate(words) for _ in range(len(word) + (place > 0))]
    ids: list[list[int]] = [[] for _ in words]
    for token, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
        last = min(max(start, end - 1), len(word_of_character) - 1)
        ids[word_of_character[last]].append(token)
    return ids


def _parts(texts: Sequence[tuple[str, str, str]], characters: int) -> Iterator[list[tuple[str, str, str]]]:
    part: list[tuple[str, str, str]] = []
    left = characters
    for asked in texts:
        part.append(asked)
        left -= len(asked[2])
        if left <= 0:
            yield part
            part, left = [], characters
    if part:
        yield part
