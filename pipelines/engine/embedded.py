"""The embedded engine: Sail serves Spark Connect from inside this process, for one machine, without Java."""

from __future__ import annotations

import atexit
import os
from functools import cache
from typing import Any

from pyspark.sql import SparkSession

_SETTINGS = {"spark.sql.session.timeZone": "UTC"}
_MARK = "feedloop.engine"  # a session setting, by which code finds out on what it runs


def embedded_session() -> SparkSession:
    """The session of this process's own server, which starts with the first call and ends with the process."""
    return _started()[1]


def is_embedded(spark: SparkSession) -> bool:
    """Whether the session is one of the embedded engine."""
    return spark.conf.get(_MARK, None) == "embedded"


@cache
def _started() -> tuple[Any, SparkSession]:
    os.environ.setdefault("RUST_LOG", "error")  # it reports on each session otherwise
    from pysail.spark import SparkConnectServer

    server = SparkConnectServer("127.0.0.1", 0)
    server.start(background=True)
    atexit.register(server.stop)
    session = SparkSession.builder.remote(f"sc://127.0.0.1:{server.listening_address[1]}").getOrCreate()
    for name, value in {**_SETTINGS, _MARK: "embedded"}.items():
        session.conf.set(name, value)
    return server, session
