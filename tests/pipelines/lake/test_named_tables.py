"""A lake in a schema of Spark's catalogue: where it lies, the names that its tables get, what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyspark
import pytest
from pyspark.sql import SparkSession

from jobs.make_sample import make_sample
from pipelines.lake import named_tables
from pipelines.lake.named_tables import lake_location
from pipelines.lake.tables import Lake
from schemas.errors import InputError
from schemas.storage.place import Place
from tests.conftest import REPOSITORY


def test_the_embedded_engine_refuses_a_catalogue_with_the_reason(spark: SparkSession) -> None:
    with pytest.raises(InputError, match="the embedded engine has no catalogue"):
        Lake(spark, Place.of("catalog:feedloop"))


@pytest.mark.parametrize(
    ("location", "says"),
    [
        ("s3://main/__unitystorage/schemas/1", "Unity Catalog manages .* nobody open those by path"),
        ("file:/tmp/feedloop-spark-x/warehouse", "ends with the process that made it"),
    ],
)
def test_where_tables_cannot_be_kept_is_refused(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, location: str, says: str
) -> None:
    monkeypatch.setattr(named_tables, "is_embedded", lambda _: False)
    monkeypatch.setattr(named_tables, "_location", lambda *_: location)
    with pytest.raises(InputError, match=says):
        lake_location(spark, Place.of("catalog:main.feedloop"))


def test_another_lake_is_left_as_it_is(spark: SparkSession, tmp_path: Path) -> None:
    assert lake_location(spark, tmp_path) == tmp_path
    assert lake_location(spark, "s3://b/lake") == "s3://b/lake"


_DRIVER = """
import json, sys
from pathlib import Path
from jobs.cli.command_line import run
from jobs.ingest import ingest
from pipelines.engine.local_spark import build_session
from pipelines.lake.tables import Lake
from schemas.impression import IMPRESSIONS

here = Path.cwd()
spark = build_session("catalogue")
spark.sql(f"CREATE SCHEMA feedloop LOCATION 'file:{here}/a lake'")
lake = ["--lake", "catalog:feedloop"]
results = {"nowhere": run(ingest, ["--logs", "sample", "--lake", "catalog:nowhere"])}
results["ingest"] = run(ingest, ["--logs", "sample", *lake])
results["tables"] = sorted(row.tableName for row in spark.sql("SHOW TABLES IN feedloop").collect())
by_name = spark.sql("SELECT * FROM feedloop.impressions").collect()
stored = Lake(spark, here / "a lake").read(IMPRESSIONS)
results["same"] = sorted(map(str, by_name)) == sorted(map(str, stored.collect()))
results["rows"] = len(by_name)
results["again"] = run(ingest, ["--logs", "sample", *lake])
spark.sql(f"CREATE SCHEMA other LOCATION 'file:{here}/other'")
spark.sql(f"CREATE TABLE other.raw_log USING delta LOCATION 'file:{here}/a lake/rejects'")
results["taken"] = run(ingest, ["--logs", "sample", "--lake", "catalog:other"])
Path("results.json").write_text(json.dumps(results))
"""


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_tables_are_queried_by_name_in_a_hive_metastore(tmp_path: Path) -> None:
    make_sample(size="tiny", out=tmp_path / "sample")
    (tmp_path / "driver.py").write_text(_DRIVER)
    settings = {
        "spark.sql.catalogImplementation": "hive",
        "spark.driver.extraJavaOptions": f"-Dderby.system.home={tmp_path}/derby -XX:TieredStopAtLevel=1",
        "spark.driver.memory": "2g",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.sql.warehouse.dir": str(tmp_path / "warehouse"),
    }
    jars = ",".join(map(str, sorted((REPOSITORY / "build" / "jars").glob("*.jar"))))
    command = [str(Path(pyspark.__file__).parent / "bin" / "spark-submit"), "--master", "local[2]", "--jars", jars]
    command += [word for name, value in settings.items() for word in ("--conf", f"{name}={value}")]
    left = {name: value for name, value in os.environ.items() if not name.startswith(("SPARK_", "FEEDLOOP_"))}
    done = subprocess.run(
        [*command, "driver.py"],
        cwd=tmp_path,
        env=left | {"PYTHONPATH": str(REPOSITORY), "PYSPARK_PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    results = json.loads((tmp_path / "results.json").read_text())
    assert (results["ingest"], results["again"], results["nowhere"], results["taken"]) == (0, 0, 2, 2)
    assert {"impressions", "raw_log", "aliases", "histories", "ingest_runs"} <= set(results["tables"])
    assert results["same"]
    assert results["rows"] > 0
    assert "catalog:nowhere: Spark's catalogue has no such schema. Make it with CREATE SCHEMA nowhere" in done.stdout
    assert "other.raw_log: this name is another table's" in done.stdout
    assert (tmp_path / "a lake" / "impressions" / "_delta_log").is_dir()
