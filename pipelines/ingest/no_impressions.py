"""Checks that a source's logs hold an impression at all; if not, the error counts why their lines were refused."""

from __future__ import annotations

from pyspark.sql import functions as F

from pipelines.ingest.batch.run_records import of_source
from pipelines.lake.tables import Lake
from schemas.errors import InputError
from schemas.impression import IMPRESSIONS
from schemas.raw_log import REJECTS

_SHOWN_LETTERS = 200  # of a refused line


def check_usable(lake: Lake, source: str) -> None:
    """InputError, with the reasons and the first refused line, if all lines of the source were refused."""
    if lake.exists(IMPRESSIONS) and not of_source(lake, IMPRESSIONS, source).isEmpty():
        return
    rejects = of_source(lake, REJECTS, source)
    counts = rejects.groupBy("reason").count().orderBy(F.desc("count"), "reason").collect()
    if not counts:
        raise InputError(f"source {source!r}: its log files hold no lines. Name a folder of logs that do")
    first = rejects.orderBy("file", "position").first()
    assert first is not None, "counted"
    reasons = ", ".join(f"{row['count']} {row['reason']}" for row in counts)
    raise InputError(
        f"source {source!r}: all {sum(row['count'] for row in counts)} lines of its logs were refused ({reasons}), so "
        f"there is nothing to learn from. The first is {first['file']}, line {first['position'] + 1}, "
        f"{first['reason']}: {first['line'][:_SHOWN_LETTERS]!r}. Other columns, times or marks are read by "
        "./feedloop ingest --mapping, with examples in jobs/presets/logs; ingest into another --out then"
    )
