"""Both engines in one process, one after the other, and a real Spark Connect server."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pyspark
from pyspark.sql import SparkSession

from pipelines.engine.embedded import embedded_session
from pipelines.engine.local_spark import build_session
from pipelines.session import ALWAYS, CONNECT_MODE
from tests.conftest import REPOSITORY
from tests.ports import free_port

Engine = Literal["embedded", "spark"]


@contextmanager
def running(engine: Engine) -> Iterator[SparkSession]:
    """Inside, pyspark's functions make frames of this engine; its session. Afterwards they do as before."""
    before = os.environ.get(CONNECT_MODE)
    yield embedded_session() if engine == "embedded" else build_session("feedloop tests", jvm="short")
    if before is None:
        os.environ.pop(CONNECT_MODE, None)
    else:
        os.environ[CONNECT_MODE] = before


def started(engine: Engine, module: str, *options: str) -> subprocess.Popen[bytes]:
    """`python -m MODULE OPTIONS` in a process group of its own, which takes this engine where no option names one."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("SPARK_CONNECT", "SPARK_REMOTE"))}
    env = ours | {"PYTHONPATH": str(REPOSITORY), "FEEDLOOP_ENGINE": engine}  # without what an embedded session has set
    command = [sys.executable, "-m", module, *options]
    return subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)


def finish(running: subprocess.Popen[bytes]) -> None:
    """Waits for it; AssertionError where it failed."""
    _, said = running.communicate(timeout=500)
    assert running.returncode == 0, said.decode()


@contextmanager
def connect_server(folder: Path) -> Iterator[str]:
    """A server of Apache Spark's own Connect with Delta, local to this machine; gives its URL."""
    port = free_port()
    jars = sorted((REPOSITORY / "build" / "jars").glob("*.jar"))
    settings = {name: value for name, value in ALWAYS.items() if name.startswith("spark.sql.")} | {
        "spark.connect.grpc.binding.port": str(port),
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": "1g",
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.local.dir": str(folder),
    }
    command = [str(Path(pyspark.__file__).parent / "bin" / "spark-submit"), "--master", "local[2]"]
    command += [word for name, value in settings.items() for word in ("--conf", f"{name}={value}")]
    command += [
        "--jars",
        ",".join(map(str, jars)),
        "--class",
        "org.apache.spark.sql.connect.service.SparkConnectServer",
    ]
    environment = {**os.environ, "PYSPARK_PYTHON": sys.executable, "PYTHONPATH": str(REPOSITORY)}
    for name in (CONNECT_MODE, "SPARK_REMOTE"):
        environment.pop(name, None)
    log = folder / "connect.log"
    with log.open("wb") as stream:
        server = subprocess.Popen(
            [*command, "spark-internal"], cwd=folder, env=environment, stdout=stream, stderr=stream
        )
    try:
        end = time.monotonic() + 180
        while time.monotonic() < end and server.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.2)
        else:
            raise AssertionError(log.read_text()[-2000:])
        yield f"sc://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(60)
