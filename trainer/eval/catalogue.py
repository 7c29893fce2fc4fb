"""Reads the news ids, categories and titles of item rows from the lake's Delta tables, without Spark."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.errors import InputError
from schemas.manifest import Manifest
from schemas.news import ITEM_TOKENS, NEWS
from schemas.storage.place import Place
from trainer.eval.lake_rows import delta_rows

TextArray = NDArray[np.object_]  # of str


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """Id, categories and title of each of the V item rows; empty strings in row 0 and in rows of other sources."""

    source: str
    news_id_V: TextArray
    category_V: TextArray
    subcategory_V: TextArray
    title_V: TextArray
    canonical_row_V: NDArray[np.int64]
    """the row whose vector it uses"""

    @classmethod
    def read(cls, lake: Path | Place, manifest: Manifest) -> Catalogue:
        """The items of a packed directory: rows at the version that it was packed from, texts at the newest version.

        InputError if the directory was packed from another lake, or a table cannot be read.
        """
        source = manifest.source
        items = delta_rows(
            lake / ITEM_TOKENS.name,
            {"item_row": pa.int64(), "item_id": pa.string(), "canonical_row": pa.int64()},
            where=("source", source),
            version=manifest.version_of(ITEM_TOKENS.name),
        )
        texts = dict.fromkeys(("news_id", "category", "subcategory", "title"), pa.string())
        news = delta_rows(lake / NEWS.name, texts, where=("source", source))
        return cls._of(source, manifest.tokens.rows, items, news)

    @classmethod
    def _of(cls, source: str, rows: int, items: pa.Table, news: pa.Table) -> Catalogue:
        row_X = items["item_row"].to_numpy()
        if len(row_X) and row_X.max() >= rows:
            raise InputError(f"the lake knows item row {row_X.max()}, the packed directory {rows} rows: another lake")
        place_of = dict(zip(news["news_id"].to_pylist(), range(len(news)), strict=True))
        at_X = np.array([place_of.get(item, -1) for item in items["item_id"].to_pylist()], np.int64)
        texts = {name: _by_row(news[name], at_X, row_X, rows) for name in ("category", "subcategory", "title")}
        news_id_V = np.full(rows, "", object)
        news_id_V[row_X] = items["item_id"].to_numpy()
        canonical_row_V = np.arange(rows)
        canonical_row_V[row_X] = items["canonical_row"].to_numpy()
        return cls(
            source=source,
            news_id_V=news_id_V,
            canonical_row_V=canonical_row_V,
            **{f"{name}_V": text for name, text in texts.items()},
        )

    def rows_of(self, news_ids: list[str]) -> NDArray[np.int64]:
        """Canonical rows of news ids; -1 where the source has no such news."""
        row_of = {news: row for row, news in enumerate(self.news_id_V.tolist()) if news}
        rows = np.array([row_of.get(news, -1) for news in news_ids], np.int64)
        return np.where(rows < 0, -1, self.canonical_row_V[rows])


def _by_row(column: pa.ChunkedArray, at_X: NDArray[np.int64], row_X: NDArray[np.int64], rows: int) -> TextArray:
    text_V = np.full(rows, "", object)
    known = at_X >= 0
    text_V[row_X[known]] = column.to_numpy()[at_X[known]]
    return text_V
