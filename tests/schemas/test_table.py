from __future__ import annotations

import pytest

from schemas.embedding import EMBEDDINGS
from schemas.erasure import ERASURES, SUPPRESSIONS
from schemas.errors import ContractError
from schemas.impression import HISTORIES, IMPRESSIONS
from schemas.news import CORPUS_STATISTICS, ITEM_TOKENS, NEAR_DUPLICATES, NEWS
from schemas.raw_log import INGEST_RUNS, RAW_LOG, REJECTS
from schemas.table import Column, Table, element_type
from schemas.trajectory import EVALUATION, TRAJECTORIES

_NEWS = (NEWS, CORPUS_STATISTICS, ITEM_TOKENS, NEAR_DUPLICATES)
TABLES = (RAW_LOG, REJECTS, INGEST_RUNS, IMPRESSIONS, HISTORIES, *_NEWS, TRAJECTORIES, EVALUATION, EMBEDDINGS)
TABLES += (SUPPRESSIONS, ERASURES)


def test_element_types_are_read_from_inside() -> None:
    assert [element_type(dtype) for dtype in ("int", "array<int>", "array<array<int>>")] == [None, "int", "array<int>"]


@pytest.mark.parametrize("dtype", ["integer", "array<>", "array<text>", "map<int,int>"])
def test_an_unknown_type_is_refused(dtype: str) -> None:
    with pytest.raises(ContractError, match="is no type of"):
        Column("a", dtype, "")


def table(*names: str, key: tuple[str, ...] = ("a",), partition_by: tuple[str, ...] = ()) -> Table:
    columns = tuple(Column(name, "int", "") for name in names)
    return Table(name="t", meaning="", columns=columns, key=key, partition_by=partition_by)


def test_a_table_names_its_columns_in_order() -> None:
    assert table("b", "a").column_names == ("b", "a")


def test_a_table_refuses_repeated_columns_and_unknown_keys() -> None:
    with pytest.raises(ContractError, match="occurs twice"):
        table("a", "a")
    for key, partition_by in ((("z",), ()), (("a",), ("z",)), ((), ())):
        with pytest.raises(ContractError, match="names no column"):
            table("a", key=key, partition_by=partition_by)


def test_keys_are_never_null() -> None:
    nullable = {(t.name, c.name) for t in TABLES for c in t.columns if c.nullable and c.name in t.key}
    assert nullable == {("trajectories", "variant")}  # tables from before there were variants: null = 0


def test_every_table_and_column_says_what_it_means() -> None:
    assert len({t.name for t in TABLES}) == len(TABLES)
    assert [(t.name, c.name) for t in TABLES for c in t.columns if not c.meaning] == []
    assert all(t.meaning for t in TABLES)
