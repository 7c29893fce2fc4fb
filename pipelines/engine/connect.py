"""Spark Connect: a session of a server that runs elsewhere, or in this very process."""

from __future__ import annotations

import os
from typing import cast

from grpc import RpcError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql.connect.session import SparkSession as Connected

from pipelines.session import ALWAYS, CONNECT_MODE
from schemas.errors import InputError

_STATIC = ("spark.sql.extensions", "spark.sql.catalog.spark_catalog")  # fixed when a server starts


def connected_session(url: str) -> SparkSession:
    """The session of a Spark Connect server. InputError where none answers.

    The server needs Delta: its jars, and the settings `spark.sql.extensions` and `spark.sql.catalog.spark_catalog`.
    """
    os.environ[CONNECT_MODE] = "1"
    try:
        session = cast(SparkSession, Connected.builder.remote(url).getOrCreate())
        for name, value in ALWAYS.items():
            if name.startswith("spark.sql.") and name not in _STATIC:
                session.conf.set(name, value)
    except (PySparkException, OSError, RpcError) as error:
        raise InputError(f"{url}: no Spark Connect server answers there ({_first_line(error)})") from error
    return session


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
