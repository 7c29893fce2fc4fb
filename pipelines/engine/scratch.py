"""Scratch: frames that are computed once and stay as they are, on either engine.

They are written as Parquet and read back. A cache would not do: the embedded engine has none, Spark empties its own at
the first commit to a table that a cached frame reads, and both lose theirs with an executor.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from pyspark.sql import DataFrame

Keep = Callable[[DataFrame], DataFrame]


@contextmanager
def scratch(below: str | None = None) -> Iterator[Keep]:
    """Inside, the function that this gives computes a frame and returns it as it was then: the same rows, types and
    columns. Afterwards these frames are gone.

    `below`: a folder that every executor reaches. By default one for temporary files, which only one machine has.
    """
    folder = Path(tempfile.mkdtemp(prefix="feedloop-scratch-", dir=below))
    numbers = count()

    def keep(frame: DataFrame) -> DataFrame:
        path = (folder / str(next(numbers))).as_uri()
        frame.write.parquet(path)
        # As text: the embedded engine notes on each field of a schema that was given otherwise that it has no metadata,
        # and then takes the lists that it reads for another type.
        schema = ", ".join(f"`{field.name}` {field.dataType.simpleString()}" for field in frame.schema.fields)
        return frame.sparkSession.read.schema(schema).parquet(path)

    try:
        yield keep
    finally:
        shutil.rmtree(folder, ignore_errors=True)
