"""Rows of Delta tables without Spark: versions, conditions, queries, and paths that delta-rs cannot take."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from schemas.delta_uri import table_uri
from schemas.errors import InputError
from trainer.eval.lake_rows import delta_rows, query


def table(path: Path, **columns: list[object]) -> Path:
    write_deltalake(str(path), pa.table(columns), mode="overwrite")
    return path


def test_a_version_of_a_delta_table_is_read(tmp_path: Path) -> None:
    path = table(tmp_path / "t", name=["it's", "b"], number=[1, 2])
    table(path, name=["c"], number=[3])
    columns = {"number": pa.int64(), "name": pa.string()}
    assert delta_rows(path, columns).to_pylist() == [{"number": 3, "name": "c"}]
    assert delta_rows(path, columns, version=0, where=("name", "it's")).to_pylist() == [{"number": 1, "name": "it's"}]


@pytest.mark.parametrize(("name", "column", "version"), [("no", "name", None), ("t", "no", None), ("t", "name", 7)])
def test_missing_things_are_named(tmp_path: Path, name: str, column: str, version: int | None) -> None:
    table(tmp_path / "t", name=["a"])
    with pytest.raises(InputError, match=rf"{tmp_path / name}: no Delta table.*that can be read"):
        delta_rows(tmp_path / name, {column: pa.string()}, version=version)


def test_a_query_gives_its_columns(tmp_path: Path) -> None:
    path = table(tmp_path / "t", name=["b", "a", "b"])
    found = query(
        path, "SELECT name, count(*) AS uses FROM it GROUP BY name", {"name": pa.string(), "uses": pa.int64()}
    )
    assert sorted(found.to_pylist(), key=str) == [{"name": "a", "uses": 1}, {"name": "b", "uses": 2}]


@pytest.mark.parametrize("name", ["50% off", "a b", "a#b", "a?b", "a:b", "*", "{x}", "ü", "it's", "100%"])
def test_a_table_is_read_whatever_its_folder_is_called(tmp_path: Path, name: str) -> None:
    path = table(tmp_path / name / "t", name=["a"])
    assert delta_rows(path, {"name": pa.string()}).to_pylist() == [{"name": "a"}]


@pytest.mark.parametrize(
    ("name", "found"), [("a%25b", "'%25'"), ("a%2Fb", "'%2F'"), ("a[b", r"'\['"), ("a\\b", r"'\\\\'")]
)
def test_a_path_that_delta_rs_reads_as_another_raises_an_error(tmp_path: Path, name: str, found: str) -> None:
    with pytest.raises(InputError, match=f"the path holds {found}.*Rename that folder"):
        delta_rows(tmp_path / name / "t", {"name": pa.string()})
    with pytest.raises(InputError, match=f"the path holds {found}"):
        table_uri(tmp_path / name)
