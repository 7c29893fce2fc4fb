"""A real HDFS on this machine: Hadoop's own mini cluster, one name node and one data node, in a process of its own."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyspark
from pyspark import SparkConf
from pyspark.java_gateway import launch_gateway

from tests.conftest import REPOSITORY
from tests.ports import free_port

_VERSION = "3.4.1"  # Spark 4.0's Hadoop
_SHA256 = "5b90be54a39d856f237a4530e25f62aea4b67c180c73b5cfb1aff35c502b2d29"
_FOLDER = REPOSITORY / "build" / "hdfs"


@contextmanager
def hdfs_cluster(folder: Path) -> Iterator[str]:
    """Inside, hdfs://127.0.0.1:PORT answers; its blocks lie below `folder`."""
    port = free_port()
    command = [sys.executable, "-m", "tests.hdfs_cluster", str(_jar()), str(folder), str(port)]
    log = folder / "cluster.log"
    with log.open("wb") as said:
        env = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        cluster = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, env=env, cwd=folder
        )
    assert cluster.stdin is not None
    assert cluster.stdout is not None
    try:
        while line := cluster.stdout.readline():
            if line == b"ready\n":
                break
        else:
            raise AssertionError(log.read_text(errors="replace")[-3000:])
        yield f"hdfs://127.0.0.1:{port}"
    finally:
        cluster.stdin.close()  # at which it ends
        cluster.wait(60)


def _jar() -> Path:
    """The mini cluster (40 MB), fetched once by Spark's resolver."""
    jar = _FOLDER / "jars" / f"org.apache.hadoop_hadoop-client-minicluster-{_VERSION}.jar"
    if not jar.is_file():
        _FOLDER.mkdir(parents=True, exist_ok=True)
        nothing = _FOLDER / "nothing.py"
        nothing.write_text('"""Nothing to run: the resolver works before it starts this."""\n')
        of_spark = ("org.apache.hadoop:hadoop-client-api", "org.apache.hadoop:hadoop-client-runtime", "junit:junit")
        command = [str(Path(pyspark.__file__).parent / "bin" / "spark-submit")]
        command += ["--packages", f"org.apache.hadoop:hadoop-client-minicluster:{_VERSION}"]
        command += ["--exclude-packages", ",".join(of_spark), "--conf", f"spark.jars.ivy={_FOLDER}", str(nothing)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
        assert jar.is_file(), done.stderr[-2000:]
    assert hashlib.sha256(jar.read_bytes()).hexdigest() == _SHA256, f"{jar}: not the file that it was. Remove it"
    return jar


def _serve(jar: str, folder: str, port: str) -> None:
    conf = SparkConf(loadDefaults=False).setMaster("local").setAppName("hdfs")
    conf.set("spark.driver.extraClassPath", jar).set("spark.driver.memory", "512m").set("spark.ui.enabled", "false")
    jvm: Any = launch_gateway(conf).jvm
    settings = jvm.org.apache.hadoop.hdfs.HdfsConfiguration()
    settings.set("hdfs.minidfs.basedir", folder)
    settings.set("dfs.permissions.enabled", "false")
    settings.set("dfs.replication", "1")
    builder = getattr(jvm.org.apache.hadoop.hdfs, "MiniDFSCluster$Builder")(settings)
    cluster = builder.nameNodePort(int(port)).numDataNodes(1).format(True).build()
    cluster.waitActive()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.read()
    cluster.shutdown()


if __name__ == "__main__":
    _serve(*sys.argv[1:])
