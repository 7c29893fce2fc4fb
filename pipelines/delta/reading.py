"""Rows of a Delta table at one version, as a frame of either engine."""

from __future__ import annotations

import atexit
import re
import shutil
import tempfile
from functools import cache
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession

from pipelines.delta.log import opened
from pipelines.session import is_embedded, located

_PLAIN = re.compile(r"[\w./:-]+", re.ASCII)


def delta_frame(spark: SparkSession, path: str, *, version: int | None = None) -> DataFrame:
    """The rows at that version, by default the latest one of now.

    The version is always named: a frame of Spark Connect is planned anew by each action, and would change with the
    table.
    """
    at = opened(path, version=version).version()
    place = _plain(path) if is_embedded(spark) else located(path)
    return spark.read.format("delta").option("versionAsOf", at).load(place)


def files_frame(like: DataFrame, uri: str) -> DataFrame:
    """The rows of the Parquet files in a folder, which have the columns and types of `like`."""
    return like.sparkSession.read.schema(schema_text(like)).parquet(uri)


def schema_text(frame: DataFrame) -> str:
    """The frame's schema as text. The embedded engine notes on each field of a schema that comes otherwise that it has
    no metadata, and then takes lists of that schema for another type.
    """
    return ", ".join(f"`{field.name}` {field.dataType.simpleString()}" for field in frame.schema.fields)


def plain_uri(path: str, name: str) -> str:
    """The folder `name` below a table's, as the embedded engine reads and writes files there."""
    plain = _plain(path)
    return f"{plain}/{name}" if "://" in plain else Path(plain, name).absolute().as_uri()


@cache
def _plain(path: str) -> str:
    """Another name of the folder where this one has letters that Sail's Delta reader writes as others: a link to it."""
    if "://" in path or _PLAIN.fullmatch(path):
        return path
    folder = _links()
    link = folder / str(len(list(folder.iterdir())))
    link.symlink_to(path)
    return str(link)


@cache
def _links() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="feedloop-links-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
