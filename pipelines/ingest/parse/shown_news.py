"""Finds news that lines show twice, and clicked news that they do not show; all lines of a batch at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.ingest.parse.text_lists import Bools, Ints, any_of, as_numpy, is_null, lengths, lists_of

_SMALL = 1 << 16  # numbers of 16 bits sort fastest


@dataclass(frozen=True, slots=True)
class ShownNews:
    """The shown news sorted by news, then by line: equal news of a line are adjacent, in the order shown."""

    shown: pa.Array
    rows: Ints  # of each news
    order: Ints
    keys: Ints  # of news and line, ascending
    clicked: Any  # the number of each clicked news

    @staticmethod
    def of(shown: pa.Array, clicked: pa.Array) -> ShownNews:
        """From the lists of shown news and those of clicked news of the same lines."""
        news = shown.flatten()
        encoded = pa.concat_arrays([news, clicked.flatten()]).dictionary_encode()
        number = len(encoded.dictionary)  # stands for null
        codes = as_numpy(encoded.indices, number).astype(np.uint16 if number < _SMALL else np.int64)
        rows = np.repeat(np.arange(len(shown)), lengths(shown))
        order = np.argsort(codes[: len(news)], kind="stable")
        keys = codes[order].astype(np.int64) * len(shown) + rows[order]
        return ShownNews(shown, rows, order, keys, codes[len(news) :].astype(np.int64))

    def clicked_not_shown(self, clicked: pa.Array) -> Bools:
        """Which lines have a clicked news that is not among those shown."""
        counts = lengths(clicked)
        if len(self.keys) == 0:
            return counts > 0
        wanted = self.clicked * len(counts) + np.repeat(np.arange(len(counts)), counts)
        places = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return any_of(self.keys[places] != wanted, counts)

    def without_repeats(self) -> tuple[pa.Array, pa.Array]:
        """The lists with each news once, at its first place; and whether a list held a news twice, null for a null
        list.
        """
        again = np.diff(self.keys) == 0
        null = is_null(self.shown)
        if not again.any():
            return self.shown, pa.array(np.zeros(len(null), np.bool_), mask=null)
        later = np.zeros(len(self.rows), np.bool_)
        later[self.order[1:][again]] = True
        left = np.bincount(self.rows[~later], minlength=len(null))
        distinct = lists_of(left, self.shown.flatten().filter(pa.array(~later)), ~null)
        return distinct, pa.array(any_of(later, lengths(self.shown)), mask=null)
