"""Reads the rows of a Delta table at one version, as a frame of either engine."""

from __future__ import annotations

import atexit
import re
import shutil
import tempfile
from functools import cache
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession

from pipelines.delta.log import open_table
from pipelines.session import is_embedded, spark_uri

_PLAIN = re.compile(r"[\w./:-]+", re.ASCII)


def delta_frame(spark: SparkSession, path: str, *, version: int | None = None) -> DataFrame:
    """The rows at that version, by default the table's current one.

    The version is always named: Spark Connect plans a frame again for each action, so the frame would change with the
    table.
    """
    at = open_table(path, version=version).version()
    place = _ascii_path(path) if is_embedded(spark) else spark_uri(path)
    return spark.read.format("delta").option("versionAsOf", at).load(place)


def files_frame(like: DataFrame, uri: str) -> DataFrame:
    """The rows of the Parquet files in a folder, which have the columns and types of `like`."""
    return like.sparkSession.read.schema(schema_text(like)).parquet(uri)


def schema_text(frame: DataFrame) -> str:
    """The frame's schema as text. In a schema of any other form, the embedded engine marks each field as having no
    metadata, and then takes lists of that schema for another type.
    """
    return ", ".join(f"`{field.name}` {field.dataType.simpleString()}" for field in frame.schema.fields)


def plain_uri(path: str, name: str) -> str:
    """The URI of the folder `name` below the table's, for the embedded engine."""
    plain = _ascii_path(path)
    return f"{plain}/{name}" if "://" in plain else Path(plain, name).absolute().as_uri()


@cache
def _ascii_path(path: str) -> str:
    """The path; a link to it where it has letters that Sail's Delta reader would spell in another way."""
    if "://" in path or _PLAIN.fullmatch(path):
        return path
    folder = _folder_of_links()
    link = folder / str(len(list(folder.iterdir())))
    link.symlink_to(path)
    return str(link)


@cache
def _folder_of_links() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="feedloop-links-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
