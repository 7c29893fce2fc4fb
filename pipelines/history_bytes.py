"""Measures the bytes of a lake's histories, and of the same column in plain Parquet."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.delta.log import open_table
from pipelines.engine.groups import in_order
from pipelines.histories import with_history
from pipelines.lake.tables import Lake
from schemas.errors import InputError
from schemas.impression import HISTORIES, IMPRESSIONS
from schemas.table import Table

_HISTORY = pa.schema([("history", pa.list_(pa.string()))])
_ROW_GROUP = 100_000
_POINTERS = ("history_length", "history_hash", "history_offset")  # an impression's columns about its history


def history_bytes(lake: Lake) -> dict[str, float]:
    """Bytes of HISTORIES and of the impressions' pointers to it, against each impression's full history in zstd
    Parquet: in the order of the log, and sorted by user. Both are written for this, and removed.

    InputError where the lake lies behind a URL: the bytes are counted in the files.
    """
    if "://" in lake.root:
        raise InputError(f"{lake.root}: bytes of histories are counted only in a lake that is a folder")
    with tempfile.TemporaryDirectory(prefix="feedloop-histories-") as scratch:
        return written_both_ways(lake, Path(scratch))


def written_both_ways(lake: Lake, scratch: Path) -> dict[str, float]:
    """As `history_bytes`, but leaves the written files below `scratch`."""
    impressions, histories = lake.read(IMPRESSIONS), lake.read(HISTORIES)
    complete = with_history(impressions, histories)
    columns = complete.select("history", "time", "impression_id", "user_id")
    orders = {"unsorted": ["time", "impression_id"], "sorted": ["user_id", "time", "impression_id"]}
    unsorted, by_user = (
        in_order(columns, order, partial(_write, scratch / f"{name}.parquet"), "bytes long").collect()[0]["bytes"]
        for name, order in orders.items()
    )
    once = sum(path.stat().st_size for path in _files(lake, HISTORIES))
    pointers = sum(_column_bytes(path, _POINTERS) for path in _files(lake, IMPRESSIONS))
    return {
        "histories": once,
        "pointers": pointers,
        "unsorted": unsorted,
        "sorted_by_user": by_user,
        "history_ratio": unsorted / (once + pointers),
        "history_ratio_sorted": by_user / (once + pointers),
    }


def _write(path: Path, batches: Iterator[pa.RecordBatch]) -> pa.Table:
    """Write the histories to a Parquet file; returns its bytes."""
    waiting = _HISTORY.empty_table()
    with pq.ParquetWriter(path, _HISTORY, compression="zstd", compression_level=3) as writer:
        for batch in batches:
            more = pa.Table.from_batches([batch.select(["history"])]).cast(_HISTORY)
            waiting = pa.concat_tables([waiting, more])
            while len(waiting) >= _ROW_GROUP:
                writer.write_table(waiting.slice(0, _ROW_GROUP))
                waiting = waiting.slice(_ROW_GROUP)
        if len(waiting):
            writer.write_table(waiting)
    return pa.table({"bytes": [path.stat().st_size]})


def _files(lake: Lake, table: Table) -> list[Path]:
    """The files of the table's latest version."""
    added = pa.table(open_table(lake.path(table)).get_add_actions(flatten=True))
    return [Path(lake.path(table), unquote(name)) for name in added["path"].to_pylist()]


def _column_bytes(path: Path, names: Sequence[str]) -> int:
    """Compressed bytes of these columns in a Parquet file."""
    footer = pq.read_metadata(path)
    groups = (footer.row_group(group) for group in range(footer.num_row_groups))
    columns = (group.column(place) for group in groups for place in range(group.num_columns))
    return sum(column.total_compressed_size for column in columns if column.path_in_schema in names)
