"""How many bytes the histories of a lake take, beside the same column in plain Parquet."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlparse

import pyarrow.parquet as pq

from pipelines.histories import with_history
from pipelines.session import located
from pipelines.tables import Lake
from schemas.errors import InputError
from schemas.impression import HISTORIES, IMPRESSIONS

_POINTERS = ("history_length", "history_hash", "history_offset")  # what an impression keeps of its history


def history_bytes(lake: Lake) -> dict[str, float]:
    """Bytes of HISTORIES and of what impressions keep beside it, against each impression's whole history in zstd
    Parquet: in the order of the log, and sorted by user. Both are written for this, and removed.

    InputError where the lake lies behind a URL: the bytes are counted in the files.
    """
    if "://" in lake.root:
        raise InputError(f"{lake.root}: bytes of histories are counted only in a lake that is a folder")
    with tempfile.TemporaryDirectory(prefix="feedloop-histories-") as scratch:
        return written_both_ways(lake, Path(scratch))


def written_both_ways(lake: Lake, scratch: Path) -> dict[str, float]:
    """As `history_bytes`, with what is written left below `scratch`."""
    impressions, histories = lake.read(IMPRESSIONS), lake.read(HISTORIES)
    whole = with_history(impressions, histories)
    for name, order in (("unsorted", ["time", "impression_id"]), ("sorted", ["user_id", "time"])):
        whole.orderBy(*order).coalesce(1).select("history").write.mode("overwrite").parquet(located(scratch / name))
    unsorted, by_user = (
        sum(path.stat().st_size for path in (scratch / name).glob("*.parquet")) for name in ("unsorted", "sorted")
    )
    once = sum(path.stat().st_size for path in _paths(histories.inputFiles()))
    pointers = sum(_column_bytes(path, _POINTERS) for path in _paths(impressions.inputFiles()))
    return {
        "histories": once,
        "pointers": pointers,
        "unsorted": unsorted,
        "sorted_by_user": by_user,
        "history_ratio": unsorted / (once + pointers),
        "history_ratio_sorted": by_user / (once + pointers),
    }


def _paths(urls: Sequence[str]) -> list[Path]:
    return [Path(unquote(urlparse(url).path)) for url in urls]


def _column_bytes(path: Path, names: Sequence[str]) -> int:
    """Compressed bytes of these columns in a Parquet file."""
    footer = pq.read_metadata(path)
    groups = (footer.row_group(group) for group in range(footer.num_row_groups))
    columns = (group.column(place) for group in groups for place in range(group.num_columns))
    return sum(column.total_compressed_size for column in columns if column.path_in_schema in names)
