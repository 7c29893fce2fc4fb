"""Names beyond ASCII: Spark spells the path of their partitions in a way in which delta-rs takes no file out."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.lake.tables import Lake
from pipelines.maintain.flow import MaintenanceConfig, maintain_lake
from schemas.as_spark import spark_schema
from schemas.errors import InputError
from schemas.impression import HISTORIES
from tests.builders import rows
from tests.engines import Engine, running

ODD = "it's ü"
WHERE = "source = 'it\\'s ü'"


def append(lake: Lake, number: int, *sources: str) -> None:
    frame = lake.spark.createDataFrame([(each, "u", number, ["n"]) for each in sources], spark_schema(HISTORIES))
    lake.append(HISTORIES, frame, app_id="test", app_version=number)


def held(lake: Path) -> list[tuple[str, int]]:
    """Source and number of each row, which both engines read alike."""
    found = []
    for engine in ("embedded", "spark"):
        with running(engine) as spark:
            found.append(rows(Lake(spark, str(lake)).read(HISTORIES), "source", "sequence_hash"))
    assert found[0] == found[1]
    return found[0]


@pytest.mark.slow
@pytest.mark.parametrize("zorder", [False, True])
def test_maintenance_and_overwriting_neither_double_nor_lose_a_row(tmp_path: Path, zorder: bool) -> None:
    with running("spark") as spark:
        for number in (1, 2):
            append(Lake(spark, str(tmp_path)), number, ODD, "p")
    wanted = [(ODD, 1), (ODD, 2), ("p", 1), ("p", 2)]
    files = {}
    engines: tuple[Engine, ...] = ("embedded", "spark")
    for engine in engines:
        with running(engine) as spark:
            files[engine] = maintain_lake(Lake(spark, str(tmp_path)), MaintenanceConfig(zorder=zorder))["histories"][
                "after"
            ]
        assert held(tmp_path) == wanted
    assert [files[engine]["files"] for engine in engines] == [3, 2]  # Spark alone puts those of the odd name together

    with running("embedded") as spark:
        lake = Lake(spark, str(tmp_path))
        few = lake.read(HISTORIES).where("sequence_hash = 1")
        for where in (WHERE, None, "user_id = 'u'"):
            with pytest.raises(InputError, match=r"Spark has written rows of source \"it's ü\".*Add --engine spark"):
                lake.overwrite(HISTORIES, few if where is None else few.where(where), where=where)
        lake.overwrite(HISTORIES, few.where("source = 'p'"), where="source = 'p'")
        append(lake, 3, ODD)
    assert held(tmp_path) == [(ODD, 1), (ODD, 2), (ODD, 3), ("p", 1)]
    with running("spark") as spark:
        lake = Lake(spark, str(tmp_path))
        lake.overwrite(HISTORIES, lake.read(HISTORIES).where(WHERE).where("sequence_hash = 3"), where=WHERE)
    assert held(tmp_path) == [(ODD, 3), ("p", 1)]
