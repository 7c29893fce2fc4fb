"""The news that lines show: which stand there twice, and which clicked ones do not stand there. All lines at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.ingest.parse.text_lists import Bools, Ints, any_of, is_null, lengths, lists_of, mask_free

_SMALL = 1 << 16  # numbers of 16 bits sort fastest


@dataclass(frozen=True, slots=True)
class ShownNews:
    """The shown news sorted by news, then by line: equal news of a line stand side by side, in the order shown."""

    shown: pa.Array
    rows: Ints  # of each news
    order: Ints
    keys: Ints  # of news and line, ascending
    clicked: Any  # the number of each clicked news

    @staticmethod
    def of(shown: pa.Array, clicked: pa.Array) -> ShownNews:
        """The news of lists, and of the lists of clicked ones beside them."""
        news = shown.flatten()
        encoded = pa.concat_arrays([news, clicked.flatten()]).dictionary_encode()
        number = len(encoded.dictionary)  # stands for null
        codes = mask_free(encoded.indices, number).astype(np.uint16 if number < _SMALL else np.int64)
        rows = np.repeat(np.arange(len(shown)), lengths(shown))
        order = np.argsort(codes[: len(news)], kind="stable")
        keys = codes[order].astype(np.int64) * len(shown) + rows[order]
        return ShownNews(shown, rows, order, keys, codes[len(news) :].astype(np.int64))

    def strangers(self, clicked: pa.Array) -> Bools:
        """Which lines have a clicked news that is not among those shown."""
        counts = lengths(clicked)
        if len(self.keys) == 0:
            return counts > 0
        wanted = self.clicked * len(counts) + np.repeat(np.arange(len(counts)), counts)
        places = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return any_of(self.keys[places] != wanted, counts)

    def once(self) -> tuple[pa.Array, pa.Array]:
        """The lists with each news once, at its first place; and whether one stood there twice, null of a null list."""
        again = np.diff(self.keys) == 0
        null = is_null(self.shown)
        if not again.any():
            return self.shown, pa.array(np.zeros(len(null), np.bool_), mask=null)
        later = np.zeros(len(self.rows), np.bool_)
        later[self.order[1:][again]] = True
        left = np.bincount(self.rows[~later], minlength=len(null))
        once = lists_of(left, self.shown.flatten().filter(pa.array(~later)), ~null)
        return once, pa.array(any_of(later, lengths(self.shown)), mask=null)
