"""Finds the files of a table that can hold some rows, reads them, and describes their removal for a commit."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import reduce
from time import time
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.transaction import RemoveAction
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipelines.delta.reading import plain_uri, schema_text
from pipelines.engine.region import Region

_PLAIN = re.compile(r"[\w/.=-]+", re.ASCII)  # a path that Delta's log and the file system spell alike
_MOST_PARTITIONS = 64  # in one plan


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a table's version."""

    path: str  # below the table's folder
    bytes: int
    partition: dict[str, Any]


def files_in(at: DeltaTable, region: Region) -> list[StoredFile] | None:
    """The files that can hold a row of the region, by Delta's log.

    None where they cannot be exchanged as files: Spark has marked deleted rows in them, their paths may have two
    spellings, or they have more than 64 partitions.
    """
    if at.protocol().reader_features:  # such as deletion vectors: the rows of a file are not all rows of the table
        return None
    names = at.metadata().partition_columns
    found = []
    for row in pa.table(at.get_add_actions(flatten=True)).to_pylist():
        partition = {name: row[f"partition.{name}"] for name in names}
        if region.may_hold(partition, row.get(f"min.{region.time}"), row.get(f"max.{region.time}")):
            found.append(StoredFile(row["path"], row["size_bytes"], partition))
    partitions = {tuple(file.partition.values()) for file in found}
    plain = all(_PLAIN.fullmatch(file.path) for file in found)
    return found if plain and len(partitions) <= _MOST_PARTITIONS else None


def rows_of(files: list[StoredFile], stored: DataFrame, path: str) -> DataFrame:
    """All rows of these files of the table at `path`, which has the columns of `stored`."""
    if not files:
        return stored.limit(0)
    names = [*files[0].partition]
    held = schema_text(stored.select(*(name for name in stored.columns if name not in names)))
    parts: dict[tuple[Any, ...], list[str]] = {}
    for file in files:
        parts.setdefault(tuple(file.partition.values()), []).append(plain_uri(path, file.path))
    kinds = dict(stored.dtypes)
    frames = []
    for values, uris in parts.items():
        frame = stored.sparkSession.read.schema(held).parquet(*uris)
        known = {name: F.lit(value).cast(kinds[name]) for name, value in zip(names, values, strict=True)}
        frames.append((frame.withColumns(known) if known else frame).select(*stored.columns))
    return reduce(DataFrame.unionAll, frames)


def removals(files: list[StoredFile]) -> list[RemoveAction]:
    """The entries of a commit that removes the files."""
    now = int(time() * 1000)
    texts = [{name: None if v is None else str(v) for name, v in file.partition.items()} for file in files]
    return [RemoveAction(file.path, True, now, file.bytes, values) for file, values in zip(files, texts, strict=True)]
