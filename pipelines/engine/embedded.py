"""Starts the embedded engine: Sail serves Spark Connect inside this process, for one machine, without Java."""

from __future__ import annotations

import atexit
import os
from functools import cache

from pysail.spark import SparkConnectServer
from pyspark.sql import SparkSession

from pipelines.engine.connect import connected_session
from pipelines.session import mark_embedded


def embedded_session() -> SparkSession:
    """The session of this process's own server, which starts at the first call and ends with the process."""
    session = connected_session(_server())
    mark_embedded(session)
    return session


@cache
def _server() -> str:
    """The URL on which it listens."""
    os.environ.setdefault("RUST_LOG", "error")  # otherwise it logs each session
    server = SparkConnectServer("127.0.0.1", 0)
    server.start(background=True)
    atexit.register(server.stop)
    return f"sc://127.0.0.1:{server.listening_address[1]}"
