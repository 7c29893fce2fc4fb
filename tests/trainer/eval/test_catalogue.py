"""Catalogue: ids, categories and titles of items, from Delta tables without Spark."""

from __future__ import annotations

import pyarrow as pa
import pytest

from schemas.errors import InputError
from trainer.eval.catalogue import Catalogue


def test_rows_have_the_texts_of_their_own_source_and_texts_may_be_missing() -> None:
    items = pa.table({"item_row": [3, 1], "item_id": ["c", "a"], "canonical_row": [1, 1]})
    news = pa.table({"news_id": ["a"], "category": ["sport"], "subcategory": ["golf"], "title": ["A putt"]})
    found = Catalogue._of("s", 4, items, news)
    assert found.news_id_V.tolist() == ["", "a", "", "c"]
    assert found.title_V.tolist() == ["", "A putt", "", ""]
    assert found.rows_of(["c", "x", "a"]).tolist() == [1, -1, 1]


def test_a_lake_with_more_items_is_another_lake() -> None:
    items = pa.table({"item_row": [9], "item_id": ["c"], "canonical_row": [9]})
    news = pa.table({name: pa.array([], pa.string()) for name in ("news_id", "category", "subcategory", "title")})
    with pytest.raises(InputError, match=r"item row 9.*another lake"):
        Catalogue._of("s", 4, items, news)
