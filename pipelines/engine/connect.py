"""Opens a Spark Connect session of a server that runs elsewhere or in this process."""

from __future__ import annotations

import os
import socket
from typing import cast
from urllib.parse import urlsplit

from grpc import RpcError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql.connect.client import DefaultChannelBuilder
from pyspark.sql.connect.session import SparkSession as Connected

from pipelines.session import ALWAYS, CONNECT_MODE
from schemas.errors import InputError

# A batch of rows is one message. Engines limit batches by rows, not bytes: the default, 128 MiB, is too small for some.
_ANY_SIZE = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
_PORT = 15002  # the default
_TIMEOUT = 10  # seconds for a connection
_STATIC = ("spark.sql.extensions", "spark.sql.catalog.spark_catalog")  # fixed when a server starts


def connected_session(url: str) -> SparkSession:
    """The session of a Spark Connect server. InputError where none answers.

    The server needs Delta: its jars, and the settings `spark.sql.extensions` and `spark.sql.catalog.spark_catalog`.
    """
    at = urlsplit(url)
    try:  # its client would try for many minutes
        socket.create_connection((at.hostname or "", at.port or _PORT), timeout=_TIMEOUT).close()
    except OSError as error:
        raise InputError(f"{url}: no Spark Connect server answers there ({error.strerror or error})") from error
    os.environ[CONNECT_MODE] = "1"
    try:
        channel = DefaultChannelBuilder(url, channelOptions=_ANY_SIZE)
        session = cast(SparkSession, Connected.builder.channelBuilder(channel).getOrCreate())
        for name, value in ALWAYS.items():
            if name.startswith("spark.sql.") and name not in _STATIC:
                session.conf.set(name, value)
    except (PySparkException, RpcError) as error:
        raise InputError(f"{url}: no Spark Connect server answers there ({_first_line(error)})") from error
    return session


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
