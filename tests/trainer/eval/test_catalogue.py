"""Catalogue: what a person knows an item by, from Delta tables without Spark."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from schemas.errors import InputError
from trainer.eval.catalogue import Catalogue, delta_rows


def table(path: Path, **columns: list[object]) -> Path:
    write_deltalake(str(path), pa.table(columns), mode="overwrite")
    return path


def test_rows_are_told_by_their_own_source_and_texts_may_be_missing() -> None:
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


def test_a_version_of_a_delta_table_is_read(tmp_path: Path) -> None:
    path = table(tmp_path / "t", name=["it's", "b"], number=[1, 2])
    table(path, name=["c"], number=[3])
    columns = {"number": pa.int64(), "name": pa.string()}
    assert delta_rows(path, columns).to_pylist() == [{"number": 3, "name": "c"}]
    assert delta_rows(path, columns, version=0, where=("name", "it's")).to_pylist() == [{"number": 1, "name": "it's"}]


@pytest.mark.parametrize(("name", "column", "version"), [("no", "name", None), ("t", "no", None), ("t", "name", 7)])
def test_what_is_not_there_is_named(tmp_path: Path, name: str, column: str, version: int | None) -> None:
    table(tmp_path / "t", name=["a"])
    with pytest.raises(InputError, match=rf"{tmp_path / name}: no Delta table.*that can be read"):
        delta_rows(tmp_path / name, {column: pa.string()}, version=version)
