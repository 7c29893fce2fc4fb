"""Command lines for each kind of cluster: complete, with options and settings that the installed Spark knows."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pyspark
import pytest

from jobs.cluster.submit_commands import CLUSTERS, Parts, guide, submit_commands
from jobs.package import SPARK_JOBS
from tests.conftest import REPOSITORY

JARS = Path(pyspark.__file__).parent / "jars"
PARTS = Parts(
    Path("/p/feedloop.zip"),
    [Path("/p/jars/a.jar"), Path("/p/jars/b.jar")],
    {job: REPOSITORY / "jobs" / f"{job}.py" for job in SPARK_JOBS},
    Path("/p/environment.tar.gz"),
)


def words(cluster: str, job: str = "ingest") -> list[str]:
    return shlex.split(submit_commands(cluster, PARTS)[job])


def test_yarn_gets_code_jars_and_the_python_that_it_unpacks() -> None:
    assert words("yarn") == [
        *["spark-submit", "--master", "yarn", "--deploy-mode", "client"],
        *["--archives", "/p/environment.tar.gz#environment"],
        *["--conf", "spark.pyspark.python=./environment/bin/python"],
        *["--conf", f"spark.pyspark.driver.python={sys.executable}"],
        *["--py-files", "/p/feedloop.zip", "--jars", "/p/jars/a.jar,/p/jars/b.jar"],
        *[str(REPOSITORY / "jobs" / "ingest.py"), "--logs", "LOGS", "--lake", "LAKE"],
    ]


def test_kubernetes_takes_all_but_its_data_from_the_image() -> None:
    line = words("kubernetes", "pack")
    assert line[:5] == ["spark-submit", "--master", "k8s://https://HOST:6443", "--deploy-mode", "cluster"]
    assert line[-5:] == ["local:///opt/feedloop/pack.py", "--lake", "LAKE", "--out", "OUT"]
    assert not [word for word in line if word.startswith("/p/")]


def test_databricks_gets_one_run_with_the_jobs_own_options() -> None:
    said = json.loads(words("databricks", "pack")[-1])
    (task,) = said["tasks"]
    assert task["spark_python_task"]["parameters"] == ["--lake", "LAKE", "--out", "OUT"]
    assert task["new_cluster"]["spark_env_vars"]["FEEDLOOP_ENGINE"] == "spark"


def test_the_guide_holds_every_command_line() -> None:
    page = guide(PARTS)
    for cluster in CLUSTERS:
        assert f"## {cluster.capitalize()}" in page
        assert all(command in page for command in submit_commands(cluster, PARTS).values())


@pytest.mark.parametrize("cluster", ["standalone", "yarn", "kubernetes"])
def test_the_installed_spark_submit_knows_every_option(cluster: str) -> None:
    line = words(cluster)
    script = next(place for place, word in enumerate(line) if word.endswith("ingest.py"))
    named = {word for word in line[:script] if word.startswith("--")}
    command = [str(JARS.parent / "bin" / "spark-submit"), "--help"]
    helped = subprocess.run(command, capture_output=True, text=True, check=False)
    known = set(re.findall(r"--[a-z][a-z-]*", helped.stdout + helped.stderr))
    assert "--supervise" in known
    assert named <= known


def test_the_installed_spark_knows_every_setting() -> None:
    """Spark ignores unknown settings without a message."""
    page = guide(PARTS) + (REPOSITORY / "deploy" / "README.md").read_text()
    named = set(re.findall(r"--conf (spark\.[\w.]+?)(?==|\.AWS_)", page))
    known = b""
    for name in ("spark-core_2.13", "spark-kubernetes_2.13"):
        (jar,) = JARS.glob(f"{name}-*.jar")
        with zipfile.ZipFile(jar) as held:
            classes = [each for each in held.namelist() if re.search(r"/(Config|package|SparkConf)\$?\.class", each)]
            known += b"".join(map(held.read, classes))

    def is_known(name: str) -> bool:  # some names are put together from two parts
        head, dot, tail = name.rpartition(".")
        return name.encode() in known or (head.encode() in known and (dot + tail).encode() in known)

    assert {"spark.kubernetes.container.image", "spark.pyspark.python", "spark.executorEnv"} <= named
    assert [name for name in sorted(named) if not is_known(name)] == []
    assert not is_known("spark.kubernetes.container.picture")
