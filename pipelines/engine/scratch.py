"""Computes frames once and stores them while they are needed, on either engine.

They are written as Parquet and read back. A cache would not suffice: the embedded engine has none, Spark empties its
own at the first commit to a table that a cached frame reads, and loses it with an executor.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from uuid import uuid4

from pyspark.sql import DataFrame, SparkSession

from pipelines.delta.reading import files_frame
from pipelines.session import is_embedded, spark_uri
from schemas.storage.files import below as files_below
from schemas.storage.files import remove_folder
from schemas.storage.place import Place

_DAY = 86400  # seconds

Keep = Callable[[DataFrame], DataFrame]


@contextmanager
def scratch(below: str | None = None) -> Iterator[Keep]:
    """Inside, the given function computes a frame and returns its stored copy: the same rows, types and columns. The
    copies are removed at the end.

    `below`: a folder or URL that every executor reaches. By default a temporary folder, for one machine.
    """
    folder = tempfile.mkdtemp(prefix="feedloop-scratch-") if below is None else f"{below}/{uuid4().hex}"
    numbers = count()

    def keep(frame: DataFrame) -> DataFrame:
        path = _engine_path(f"{folder}/{next(numbers)}", frame.sparkSession)
        frame.write.parquet(path)
        return files_frame(frame, path)

    try:
        yield keep
    finally:
        remove_folder(Place.of(folder))


def sweep_scratch(below: str) -> None:
    """Remove the folders there that were not written to for a day: no process uses them any more."""
    newest: dict[str, int] = {}
    for name, file in files_below(Place.of(below)):
        folder = name.partition("/")[0]
        newest[folder] = max(newest.get(folder, 0), file.changed_us)
    for folder, changed_us in newest.items():
        if changed_us < (time.time() - _DAY) * 1e6:
            remove_folder(Place.of(below) / folder)


def _engine_path(path: str, spark: SparkSession) -> str:
    """The path in the engine's form: the embedded one decodes URLs, and takes file: with one slash for a folder."""
    if "://" in path or not is_embedded(spark):
        return spark_uri(path)
    return Path(path).absolute().as_uri()
