"""A real standalone cluster of two workers on loopback ingests and packs as local mode does."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import urlopen

import pyspark
import pytest
from pyspark.sql import SparkSession

from jobs.build_trajectories import build_trajectories
from jobs.cli.command_line import run
from jobs.ingest import ingest
from jobs.make_sample import make_sample
from jobs.pack import pack
from jobs.package import package
from jobs.prepare_news import prepare_news
from pipelines.lake.tables import Lake
from schemas.impression import ALIASES, HISTORIES, IMPRESSIONS
from schemas.manifest import MANIFEST_FILE, Manifest
from schemas.raw_log import INGEST_RUNS, REJECTS
from schemas.storage.place import Place
from schemas.table import Table
from tests.builders import rows
from tests.pipelines.packing.stored import manifest_at, no_leftovers, sums
from tests.ports import free_port
from trainer.data.directory import PackedDirectory

HOST = "127.0.0.1"
SPARK_HOME = Path(pyspark.__file__).parent
WORKERS = 2
_QUICK = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
SETTINGS = {
    "spark.driver.host": HOST,
    "spark.driver.bindAddress": HOST,
    "spark.driver.extraJavaOptions": _QUICK,
    "spark.executor.extraJavaOptions": _QUICK,
    "spark.executor.memory": "768m",
    "spark.ui.enabled": "false",
    "spark.sql.shuffle.partitions": "2",
    "spark.databricks.delta.snapshotPartitions": "1",
}
NOT_OURS = {"PYTHONPATH", "SPARK_HOME", "FEEDLOOP_ENGINE", "SPARK_CONNECT_MODE_ENABLED"}
OF_THE_MOMENT = {"arrived_at", "finished_at"}


def environment() -> dict[str, str]:
    """Without our repository on the path: workers get the zip alone."""
    kept = {name: value for name, value in os.environ.items() if name not in NOT_OURS}
    return kept | {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": HOST, "SPARK_LOCAL_HOSTNAME": HOST}


@contextmanager
def process(log: Path, *words: str, hidden: Path | None = None) -> Iterator[None]:
    """A Spark daemon in a process group of its own; the entire group is gone afterwards.

    It sees an empty folder of its own where the `hidden` one is.
    """
    spark_class = str(SPARK_HOME / "bin" / "spark-class")
    apart = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"', str(hidden)] if hidden else []
    with log.open("wb") as stream:
        daemon = subprocess.Popen(
            [*apart, spark_class, *words], env=environment(), stdout=stream, stderr=stream, start_new_session=True
        )
        try:
            yield
        finally:
            os.killpg(daemon.pid, signal.SIGKILL)
            daemon.wait()


def alive_workers(web_port: int) -> int:
    try:
        with urlopen(f"http://{HOST}:{web_port}/json/", timeout=5) as answer:
            return int(json.load(answer)["aliveworkers"])
    except OSError:
        return 0  # the master is not up yet


@contextmanager
def cluster(folder: Path, *, hidden: Path | None = None) -> Iterator[str]:
    """The URL of a master that knows its workers, which do not see the `hidden` folder."""
    port, web_port = free_port(), free_port()
    url = f"spark://{HOST}:{port}"
    ports = ["--port", str(port), "--webui-port", str(web_port)]
    with process(folder / "master.log", "org.apache.spark.deploy.master.Master", "--host", HOST, *ports):
        size = ["--cores", "1", "--memory", "1g"]
        work = [["--work-dir", str(folder / f"worker{n}"), "--webui-port", str(free_port())] for n in range(WORKERS)]
        name = "org.apache.spark.deploy.worker.Worker"
        with (
            process(folder / "worker0.log", name, "--host", HOST, *size, *work[0], url, hidden=hidden),
            process(folder / "worker1.log", name, "--host", HOST, *size, *work[1], url, hidden=hidden),
        ):
            until = time.monotonic() + 60
            while alive_workers(web_port) < WORKERS:
                assert time.monotonic() < until, "\n".join(log.read_text()[-2000:] for log in folder.glob("*.log"))
                time.sleep(0.2)
            yield url


def submitted(command: str, url: str, cwd: Path, *, ends: int = 0, patience: int = 240, **more: str) -> str:
    """What the printed command line prints, with the settings that a user adds for so small a cluster.

    `patience`: seconds. `more`: of the driver's environment.
    """
    _, *words = shlex.split(command)
    options = [word for name, value in SETTINGS.items() for word in ("--conf", f"{name}={value}")]
    with (cwd / "driver.log").open("wb") as log:
        driver = subprocess.Popen(
            [str(SPARK_HOME / "bin" / "spark-submit"), "--master", url, *options, *words],
            cwd=cwd,
            env=environment() | more,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
        try:
            printed, _ = driver.communicate(timeout=patience)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(driver.pid, signal.SIGKILL)
    assert driver.returncode == ends, (cwd / "driver.log").read_text()[-3000:]
    return printed


def stored(lake: Lake, table: Table) -> list[tuple[object, ...]]:
    return rows(lake.read(table), *(name for name in table.column_names if name not in OF_THE_MOMENT))


def test_two_workers_give_the_same_tables_as_local_mode(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_sample(size="tiny", out=tmp_path / "sample")
    assert run(ingest, ["--logs", str(tmp_path / "sample"), "--lake", str(tmp_path / "local")]) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])

    command = package(out=tmp_path / "package")["submit"]["ingest"]
    with cluster(tmp_path) as url:
        printed = submitted(command.replace("LOGS", "sample").replace("LAKE", "lake"), url, tmp_path)
    executors = list(tmp_path.glob("worker[01]/app-*/*/stderr"))
    assert len(executors) == WORKERS, "each worker ran an executor"

    counts = ("lines", "impressions", "merged", "rejected")
    assert {name: json.loads(printed.splitlines()[-1])[name] for name in counts} == {
        name: summary[name] for name in counts
    }
    local, ours = Lake(spark, str(tmp_path / "local")), Lake(spark, str(tmp_path / "lake"))
    for table in (IMPRESSIONS, ALIASES, HISTORIES, REJECTS, INGEST_RUNS):
        assert stored(ours, table) == stored(local, table), table.name
    assert stored(ours, IMPRESSIONS)


OPTIONS = ["--batch-trajectories", "8", "--shard-trajectories", "60"]


def packed_here(folder: Path) -> str:
    """A lake of the tiny sample, and what local mode packs of it, in `local`."""
    sample, lake = Place.of(folder / "sample"), Place.of(folder / "lake")
    make_sample(size="tiny", out=sample.path)
    ingest(logs=sample, lake=lake)
    prepare_news(news=sample, lake=lake)
    build_trajectories(lake=lake)
    assert run(pack, ["--lake", str(lake), "--out", str(folder / "local"), *OPTIONS]) == 0
    return str(lake)


@pytest.mark.slow
def test_machines_that_share_a_bucket_alone_pack_into_it_and_into_no_folder(
    spark: SparkSession, bucket: str, tmp_path: Path
) -> None:
    """The workers see the lake, and of the driver's own folder an empty one of their own."""
    if subprocess.run(["unshare", "-m", "true"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
        pytest.skip("this user may not give a process file systems of its own")
    lake, out, own = packed_here(tmp_path), Place.of(bucket) / "packed", tmp_path / "own"
    own.mkdir()
    command = package(out=tmp_path / "package")["submit"]["pack"].replace("LAKE", lake)
    with cluster(tmp_path, hidden=own) as url:
        refused = submitted(f"{command} {' '.join(OPTIONS)}".replace("OUT", "own/packed"), url, tmp_path, ends=2)
        assert "Name a folder that driver and executors share, or a URL" in refused
        before = files_of(tmp_path)
        printed = submitted(f"{command} {' '.join(OPTIONS)}".replace("OUT", f"s3a{out.text[2:]}"), url, tmp_path)
    assert json.loads(printed.splitlines()[-1])["out"] == str(out)
    here = Manifest.from_json((tmp_path / "local" / MANIFEST_FILE).read_text(), "local")
    assert sums(manifest_at(out)) == sums(here)
    assert no_leftovers(out)
    assert list(own.iterdir()) == []
    made = {name for name in files_of(tmp_path) - before if not name.startswith(("worker", "lake/_versions/"))}
    assert made == set()
    assert not [name for name in files_of(tmp_path) if name.startswith("worker") and "shard-" in name]


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_two_workers_pack_the_same_bytes_as_local_mode(spark: SparkSession, tmp_path: Path) -> None:
    """Order, cuts and files from executors that have the zip alone: numba compiles there, nothing else is at hand."""
    lake = packed_here(tmp_path)
    command = package(out=tmp_path / "package")["submit"]["pack"].replace("LAKE", lake).replace("OUT", "packed")
    with cluster(tmp_path) as url:
        submitted(f"{command} {' '.join(OPTIONS)}", url, tmp_path)

    def made(out: Path) -> list[str]:
        manifest = Manifest.from_json((out / MANIFEST_FILE).read_text(), str(out))
        return [entry.sha256 for entry in manifest.files if not entry.path.endswith("_common_metadata")]

    assert made(tmp_path / "packed") == made(tmp_path / "local")
    assert len(PackedDirectory.open(tmp_path / "packed").superblocks) >= 8
