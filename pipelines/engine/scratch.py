"""Scratch: frames that are computed once and stay as they are, on either engine.

They are written as Parquet and read back. A cache would not do: the embedded engine has none, Spark empties its own at
the first commit to a table that a cached frame reads, and both lose theirs with an executor.
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
from pipelines.session import is_embedded, located
from schemas.storage.files import below as files_below
from schemas.storage.files import remove_folder
from schemas.storage.place import Place

_DAY = 86400  # seconds

Keep = Callable[[DataFrame], DataFrame]


@contextmanager
def scratch(below: str | None = None) -> Iterator[Keep]:
    """Inside, the function that this gives computes a frame and returns it as it was then: the same rows, types and
    columns. Afterwards these frames are gone.

    `below`: a folder or URL that every executor reaches. By default one for temporary files, which one machine has.
    """
    folder = tempfile.mkdtemp(prefix="feedloop-scratch-") if below is None else f"{below}/{uuid4().hex}"
    numbers = count()

    def keep(frame: DataFrame) -> DataFrame:
        path = _named(f"{folder}/{next(numbers)}", frame.sparkSession)
        frame.write.parquet(path)
        return files_frame(frame, path)

    try:
        yield keep
    finally:
        remove_folder(Place.of(folder))


def sweep_scratch(below: str) -> None:
    """Remove the folders there that nobody has written to for a day, and of which no process will make use any more."""
    newest: dict[str, int] = {}
    for name, file in files_below(Place.of(below)):
        folder = name.partition("/")[0]
        newest[folder] = max(newest.get(folder, 0), file.changed_us)
    for folder, changed_us in newest.items():
        if changed_us < (time.time() - _DAY) * 1e6:
            remove_folder(Place.of(below) / folder)


def _named(path: str, spark: SparkSession) -> str:
    """The path as the engine takes it: the embedded one decodes URLs, and takes file: with one slash for a folder."""
    if "://" in path or not is_embedded(spark):
        return located(path)
    return Path(path).absolute().as_uri()
