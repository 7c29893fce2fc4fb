"""One lake, two engines: what one has written the other reads, goes on with, and knows as done."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import cycle, repeat
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipelines.delta.commits import Changes, Mark
from pipelines.lake.tables import Lake
from pipelines.maintain.flow import MaintenanceConfig, maintain_lake
from schemas.errors import ContractError
from schemas.table import Check, Column, Table
from tests.builders import rows
from tests.engines import Engine, running

TABLE = Table(
    name="seen",
    meaning="a table of tests, with all that our contracts have",
    columns=(
        Column("source", "string", "publisher"),
        Column("word", "string", "the word"),
        Column("time", "timestamp", "when"),
        Column("day", "date", "of time"),
        Column("uses", "array<long>", "counts"),
        Column("kind", "string", "of word", nullable=True),
    ),
    key=("source", "word", "day"),
    partition_by=("source", "day"),
    checks=(
        Check("used", "cardinality(uses) > 0"),
        Check("day_of_time", "day = CAST(time AS DATE)"),
        Check("known_kind", "kind IS NULL OR kind IN ('noun', 'verb')"),
    ),
    deletion_vectors=True,
)
Row = tuple[str, str, int, list[int], str | None]
TIME = "timestamp_seconds(1772400000 + day * 86400)"


def frame(lake: Lake, *values: Row) -> DataFrame:
    made = lake.spark.createDataFrame([*values], "source string, word string, day int, uses array<long>, kind string")
    return made.withColumn("time", F.expr(TIME)).withColumn("day", F.to_date("time"))


def append(lake: Lake) -> None:
    some = frame(lake, ("p's é", "a", 0, [1], "noun"), ("q", "b", 1, [2], None), ("q", "c", 1, [3], "verb"))
    lake.append(TABLE, some, app_id="test", app_version=1, note={"batch": 1})


def append_an_extra_column(lake: Lake) -> None:
    some = frame(lake, ("q", "d", 2, [4], None)).withColumn("rank", F.lit(7))
    lake.append(TABLE, some, app_id="test", app_version=2, evolve=True)


def merge(lake: Lake) -> None:
    some = frame(lake, ("q", "b", 1, [20], "noun"), ("q", "c", 1, [30], None), ("q", "e", 2, [5], "verb"))
    how = {"uses": "concat(stored.uses, incoming.uses)", "kind": "coalesce(incoming.kind, stored.kind)"}
    changes = lake.merge(
        TABLE,
        some,
        set_on_match=how,
        update_when="incoming.kind = 'noun'",
        where="stored.source = 'q' AND stored.day IN (DATE '2026-03-02', DATE '2026-03-03')",
        mark=Mark("merge", 1, {"merged": True}),
    )
    assert changes in (Changes(inserted=1, updated=1), Changes())


def change(lake: Lake) -> None:
    """One row gets another key and day, one goes."""
    incoming = frame(lake, ("q", "z", 4, [100], "noun"), ("q", "c", 1, [1], None))
    was = F.when(F.col("word") == "z", "b").otherwise(F.col("word"))
    days = F.to_date(F.lit("2026-03-02"))
    old = F.struct(F.lit("q").alias("source"), was.alias("word"), days.alias("day"))
    lake.change(
        TABLE,
        incoming.withColumns({"old": old, "gone": F.col("word") == "c"}),
        where="stored.source = 'q'",
        mark=Mark("change", 1),
    )


def overwrite(lake: Lake) -> None:
    lake.overwrite(TABLE, frame(lake, ("p's é", "n", 3, [9], None)), where="word = 'n'")


def note(lake: Lake) -> None:
    lake.note(TABLE, "made_from", '{"x": "it\'s"}')


def maintain(lake: Lake) -> None:
    maintain_lake(lake, MaintenanceConfig())


def refuse(lake: Lake) -> None:
    for bad, rule in ((("q", "x", 1, [], None), "used"), (("q", "x", 1, [1], "verse"), "known_kind")):
        with pytest.raises(ContractError, match=f"break the rule {rule} of table seen"):
            lake.append(TABLE, frame(lake, bad), app_id="bad", app_version=1)


STEPS = (
    append,
    refuse,
    append_an_extra_column,
    merge,
    note,
    change,
    maintain,
    overwrite,
    append,
    merge,
    refuse,
    change,
)


def played(folder: Path, engines: Iterable[Engine]) -> tuple[list[Any], list[Any]]:
    """The steps, each by the next engine; the rows that both then read, and what the commits changed."""
    for step, engine in zip(STEPS, engines, strict=False):
        with running(engine) as spark:
            step(Lake(spark, str(folder)))
    found = []
    for engine in ENGINES:
        with running(engine) as spark:
            lake = Lake(spark, str(folder))
            found.append(rows(lake.read(TABLE)))
            commits = lake.commits(TABLE, limit=99)
            assert lake.notes(TABLE) == {"made_from": '{"x": "it\'s"}'}
    assert found[0] == found[1]
    noted = [(commit.note, commit.changes, commit.app) for commit in commits if commit.changes != Changes()]
    return found[0], [each for each in noted if each[0] or each[2][0]]


ENGINES: tuple[Engine, Engine] = ("embedded", "spark")


@pytest.mark.parametrize("first", ["embedded", pytest.param("spark", marks=pytest.mark.slow)])
def test_engines_alternate_over_one_table_in_both_directions(tmp_path: Path, first: Engine) -> None:
    alone = {engine: played(tmp_path / engine, repeat(engine)) for engine in ENGINES}
    other = next(engine for engine in ENGINES if engine != first)
    assert alone["embedded"] == alone["spark"] == played(tmp_path / "mixed", cycle((first, other)))
    assert [row[1] for row in alone["spark"][0]] == ["a", "n", "d", "e", "z"]
