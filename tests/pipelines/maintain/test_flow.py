"""Maintenance of a lake: the same rows in fewer files, old versions readable inside the retention only."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from pipelines.delta.commits import Mark
from pipelines.lake.tables import Lake
from pipelines.maintain.flow import MaintenanceConfig, history, maintain_lake
from pipelines.session import is_embedded, plain_errors
from schemas.as_spark import spark_schema
from schemas.errors import InputError
from schemas.impression import HISTORIES
from schemas.news import NEWS
from tests.builders import rows

AT_ONCE = MaintenanceConfig(retention_days=0, below_safe_retention=True)


def tell(lake: Lake, batch: int) -> None:
    """One commit of histories: a user known from the first batch, and a new one."""
    values = [("p", user, 1, [f"n{batch}"]) for user in ("u0", f"u{batch}")]
    frame = lake.spark.createDataFrame(values, spark_schema(HISTORIES))
    lake.merge(HISTORIES, frame, set_on_match={"clicks": "incoming.clicks"}, mark=Mark("test", batch))


@pytest.fixture(scope="module")
def worn(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A lake with many small files of a table, with deletion vectors where Spark makes it."""
    lake = Lake(spark, str(tmp_path_factory.mktemp("lake")))
    for batch in range(1, 5):
        tell(lake, batch)
        added = lake.spark.createDataFrame([("p", f"v{batch}", 1, ["n1"])], spark_schema(HISTORIES))
        lake.append(HISTORIES, added, app_id="other", app_version=batch)
    return lake


def test_the_same_rows_stand_in_fewer_files_and_a_second_time_nothing_is_written(worn: Lake) -> None:
    before, version = rows(worn.read(HISTORIES)), worn.version(HISTORIES)
    found = maintain_lake(worn, MaintenanceConfig())
    assert list(found) == ["histories"]
    assert rows(worn.read(HISTORIES)) == before
    assert found["histories"]["before"]["rows"] == found["histories"]["after"]["rows"] == len(before)
    assert found["histories"]["before"]["files"] > found["histories"]["after"]["files"] == 1
    assert rows(worn.read(HISTORIES, version=version)) == before  # inside the retention
    version = worn.version(HISTORIES)
    again = maintain_lake(worn, MaintenanceConfig())["histories"]
    assert again["before"]["files"] == again["after"]["files"] == 1
    assert worn.version(HISTORIES) == version
    assert history(worn, HISTORIES, limit=1)[0]["operation"] == "OPTIMIZE"


def test_old_versions_go_at_once_only_where_the_user_insists(worn: Lake) -> None:
    tell(worn, 7)
    before, version = rows(worn.read(HISTORIES)), worn.version(HISTORIES)
    tell(worn, 8)
    with pytest.raises(InputError, match=r"retention_days is 0: .*Use 7 or more; or.*--below-safe-retention"):
        MaintenanceConfig(retention_days=0)
    maintain_lake(worn, MaintenanceConfig(retention_days=7, log_days=9))
    assert rows(worn.read(HISTORIES, version=version)) == before
    now = rows(worn.read(HISTORIES))
    state = maintain_lake(worn, AT_ONCE)["histories"]
    assert state["after"]["bytes_in_folder"] < state["before"]["bytes_in_folder"]
    assert rows(worn.read(HISTORIES)) == now
    with pytest.raises(InputError, match=r"this file is gone.*name a later --as-of"), plain_errors():
        rows(worn.read(HISTORIES, version=version))
    kept = worn.properties(HISTORIES)
    assert kept["delta.deletedFileRetentionDuration"] == "interval 7 days"  # insisting is for once
    assert kept["delta.logRetentionDuration"] == "interval 9 days"


def test_the_files_of_a_purged_table_hold_its_rows_and_no_others(worn: Lake) -> None:
    if is_embedded(worn.spark):
        pytest.skip("only Spark marks rows as deleted")
    tell(worn, 11)
    tell(worn, 12)
    now = rows(worn.read(HISTORIES))
    maintain_lake(worn, replace(AT_ONCE, purge=True))
    assert rows(worn.read(HISTORIES)) == now
    files = [str(path) for path in Path(worn.path(HISTORIES)).rglob("*.parquet") if "_delta_log" not in str(path)]
    assert worn.spark.read.parquet(*files).count() == len(now), "a reader of plain Parquet finds each row once"
    tell(worn, 13)
    assert worn.properties(HISTORIES)["delta.enableDeletionVectors"] == "true"


def test_rows_are_laid_out_by_user_where_they_changed_since(worn: Lake) -> None:
    tell(worn, 21)
    now = rows(worn.read(HISTORIES))
    orders = []
    for _ in range(2):
        maintain_lake(worn, MaintenanceConfig(zorder=True))
        orders.append([commit.version for commit in worn.commits(HISTORIES) if commit.note == {"maintain": "zorder"}])
    assert len(orders[0]) == 1
    assert orders[0] == orders[1]
    assert rows(worn.read(HISTORIES)) == now


def test_no_job_may_write_meanwhile(worn: Lake) -> None:
    with worn.locked("prepare_news"), pytest.raises(InputError, match="prepare_news of this lake is running already"):
        maintain_lake(worn, MaintenanceConfig())
    with worn.locked("ingest", by="maintain"), pytest.raises(InputError, match="maintain of this lake is running"):
        maintain_lake(worn, MaintenanceConfig())


def test_the_log_is_kept_as_long_as_the_files() -> None:
    with pytest.raises(InputError, match=r"log_days is 5, and files are kept 7 days.*Use as many days or more"):
        MaintenanceConfig(log_days=5)
    with pytest.raises(InputError, match=r"small_file_mb is 0: use 1 or more"):
        MaintenanceConfig(small_file_mb=0)


def test_the_log_is_kept_as_long_as_the_table_keeps_its_files_by_now(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, str(tmp_path / "lake"))
    lake.create(NEWS)
    maintain_lake(lake, MaintenanceConfig(retention_days=60, log_days=60))
    before = lake.version(NEWS)
    with pytest.raises(InputError, match=r"log_days is 10, and table news keeps its files 60 days"):
        maintain_lake(lake, MaintenanceConfig(log_days=10))
    assert lake.version(NEWS) == before
    maintain_lake(lake, MaintenanceConfig(retention_days=10, log_days=10))


def test_a_lake_without_tables_needs_no_maintenance(lake: Lake) -> None:
    assert maintain_lake(lake, MaintenanceConfig()) == {}
    assert not lake.exists(NEWS)


def test_scratch_of_killed_jobs_goes_and_that_of_a_pack_which_runs_stays(worn: Lake) -> None:
    scratch = Path(worn.root) / "_scratch"
    for name, hours in (("dead", 25), ("alive", 1)):
        (scratch / name / "0").mkdir(parents=True)
        (scratch / name / "0" / "first.parquet").touch()
        os.utime(scratch / name / "0" / "first.parquet", (0, 0))
        (scratch / name / "0" / "last.parquet").touch()
        os.utime(scratch / name / "0" / "last.parquet", (time.time() - 3600 * hours,) * 2)
    maintain_lake(worn, MaintenanceConfig())
    assert [path.name for path in scratch.iterdir()] == ["alive"]
    assert len([*(scratch / "alive").rglob("*.parquet")]) == 2


def test_files_of_killed_writers_go_once_the_retention_has_passed(worn: Lake) -> None:
    before = rows(worn.read(HISTORIES))
    left = [Path(worn.path(HISTORIES)) / f"part-{name}.parquet" for name in ("old", "new")]
    for path, days in zip(left, (8, 6), strict=True):
        path.touch()
        os.utime(path, (time.time() - 86400 * days,) * 2)
    maintain_lake(worn, MaintenanceConfig())
    assert [path.exists() for path in left] == [False, True]
    assert rows(worn.read(HISTORIES)) == before
