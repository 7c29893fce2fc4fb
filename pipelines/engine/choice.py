"""Chooses the engine of a job of the Spark half, the embedded one or Apache Spark, and opens its session."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from pyspark.sql import SparkSession

from pipelines.engine.connect import connected_session
from pipelines.engine.embedded import embedded_session
from pipelines.engine.local_spark import build_session
from schemas.errors import InputError

Name = Literal["auto", "embedded", "spark"]

LARGE_BYTES = 8 << 30  # of new logs: from this size on, auto takes Spark, which spills what memory cannot hold
_LONG_RUN_BYTES = 200 << 20  # above this size, the JVM's second compiler saves more than it costs
_ASKS_FOR_SPARK = ("PYSPARK_GATEWAY_PORT", "SPARK_REMOTE", "FEEDLOOP_MASTER")  # spark-submit sets the first


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """The engine that runs the job."""

    engine: Name = "auto"  # embedded, spark, or auto: spark under spark-submit, with a master or for 8 GiB of new logs
    remote: str | None = None  # a Spark Connect server to run it on, such as sc://HOST:15002

    def __post_init__(self) -> None:
        if self.engine not in ("auto", "embedded", "spark"):
            raise InputError(f"engine is {self.engine!r}: use auto, embedded or spark")
        if self.remote is not None and not self.remote.startswith("sc://"):
            raise InputError(f"remote is {self.remote!r}: name a Spark Connect server, such as sc://HOST:15002")
        if self.remote is not None and self.engine == "embedded":
            raise InputError("remote names a Spark Connect server, and engine is embedded: drop one")

    def choose(self, *, new_bytes: int = 0) -> Literal["embedded", "spark"]:
        """The engine: as set here or by FEEDLOOP_ENGINE, else by what started the process and the bytes of new logs."""
        asked = self.engine if self.engine != "auto" else os.environ.get("FEEDLOOP_ENGINE", "auto")
        if asked == "embedded" or asked == "spark":
            return asked  # type: ignore[return-value]
        if asked != "auto":
            raise InputError(f"FEEDLOOP_ENGINE is {asked!r}: use auto, embedded or spark, or unset it")
        given = self.remote is not None or any(name in os.environ for name in _ASKS_FOR_SPARK)
        return "spark" if given or new_bytes >= LARGE_BYTES else "embedded"


def session_for(app: str, config: EngineConfig, *, new_bytes: int = 0) -> SparkSession:
    """The session of the chosen engine; its running one, where there is one already.

    `new_bytes`: size of the input that the job will read.
    """
    if config.choose(new_bytes=new_bytes) == "embedded":
        return embedded_session()
    remote = config.remote or os.environ.get("SPARK_REMOTE")
    if remote is not None:
        return connected_session(remote)
    return build_session(app, jvm="long" if new_bytes > _LONG_RUN_BYTES else "short")
