"""The audit of a batch before it is committed: its files are unchanged since they were inspected, each of their new
lines is there, and not too many lines are refused. A batch that fails leaves no trace in the lake. After the last one,
whether its source has any impression.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines.compressed import UNREADABLE
from pipelines.engine.data_files import Staged
from pipelines.ingest.batch.run_records import of_source
from pipelines.ingest.discover.fingerprint import joined_stamps, stamp_of
from pipelines.ingest.discover.formats import parts_of, sha256_now
from pipelines.ingest.discover.log_file import LogFile
from pipelines.ingest.discover.spread import map_in_tasks
from pipelines.lake.tables import Lake
from pipelines.session import SPARK_ERRORS
from schemas.errors import ContractError, InputError
from schemas.impression import IMPRESSIONS
from schemas.raw_log import REJECTS

_FEW_LINES = 20  # of a run: a share of so few means nothing
_SHOWN = 300  # characters of a refused line that a message quotes
_SHOWN_OF_FIRST = 200  # characters of the first refused line, where all are refused


def read_lines(lines: DataFrame, files: Sequence[LogFile], stage: Callable[[DataFrame], Staged]) -> Staged:
    """The lines of these files, read once by `stage` and checked; InputError as in `check_lines`."""
    try:
        staged = stage(lines)
    except SPARK_ERRORS:
        _refuse_changed(lines.sparkSession, files)  # clearer than the reader's error for a missing or truncated file
        raise
    check_lines(staged.frame, files)
    return staged


def check_lines(lines: DataFrame, files: Sequence[LogFile]) -> None:
    """InputError, which names the file, unless `lines` are each file's new lines and its text is still there.

    `lines` should be staged: they are counted, and the lines counted must be the lines committed.
    """
    spark = lines.sparkSession
    try:
        counted = {row["file"]: row["count"] for row in lines.groupBy("file").count().collect()}
    except SPARK_ERRORS:
        _refuse_changed(spark, files)
        raise
    unknown = sorted(str(name) for name in counted.keys() - {file.name for file in files})
    if unknown:
        raise ContractError(
            f"{unknown[0]}: lines of a file that this batch does not read. Report this, for it is a fault of ingest"
        )
    wrong = [file for file in files if counted.get(file.name, 0) != file.lines - file.skip]
    if wrong:
        first = wrong[0]
        raise InputError(
            f"{first.name}: it had {first.lines - first.skip} new lines when it was inspected, and "
            f"{counted.get(first.name, 0)} when it was read{_others(wrong)}. {_AGAIN}"
        )
    _refuse_changed(spark, files)


def check_reject_share(parsed: DataFrame, max_share: float, *, lines_before: int, withheld: bool) -> None:
    """InputError with the first refused line if more than this share of a batch's lines is refused, in a run of more
    than a few lines. `withheld`: refused lines are not shown, for they may name users.
    """
    first = F.min(F.struct("refused.file", "refused.position", "refused.line")).alias("first")
    rows = parsed.groupBy("reason").agg(F.count("*").alias("lines"), first).collect()
    lines = sum(row["lines"] for row in rows)
    refused = sorted((row for row in rows if row["reason"] is not None), key=lambda row: row["first"])
    count = sum(row["lines"] for row in refused)
    if lines_before + lines <= _FEW_LINES or count <= max_share * lines:
        return
    file, position, line = refused[0]["first"]
    text = bytes(line).decode(errors="backslashreplace")
    shown = "withheld, for it may name a user" if withheld else repr(text[:_SHOWN]) + "…" * (len(text) > _SHOWN)
    reasons = ", ".join(f"{row['reason']} {row['lines']}" for row in refused)
    raise InputError(
        f"{file}: {count} of the {lines} lines of this batch would be refused ({reasons}), more than the share of "
        f"{max_share:g} that --max-reject-share allows. Nothing of it was committed. The first of them is line "
        f"{position + 1}, {refused[0]['reason']}: {shown}. Check the format or the --mapping, or give "
        "--max-reject-share 1 to have them in the table rejects"
    )


def check_replayed_share(refused: int, lines: int, max_share: float, *, source: str) -> None:
    """InputError if a replay refuses more than this share of all lines of a source."""
    if lines > _FEW_LINES and refused > max_share * lines:
        raise InputError(
            f"{source}: {refused} of its {lines} lines would be refused, more than the share of {max_share:g} that "
            "--max-reject-share allows. Nothing was changed. Check the --mapping, or give --max-reject-share 1"
        )


_AGAIN = (
    "It was cut, replaced or edited meanwhile. Nothing of this batch was committed, and no line is lost: let its "
    "writer finish, and run this again"
)


def _others(files: Sequence[LogFile]) -> str:
    return f" (and {len(files) - 1} more files likewise)" if len(files) > 1 else ""


def _refuse_changed(spark: SparkSession, files: Sequence[LogFile]) -> None:
    unsure = [file for file in files if not _has_its_stamp(file)]
    sizes = [(file.text_bytes or 0) for file in unsure]
    held = map_in_tasks(spark, _still_holds, unsure, sizes)
    changed = [file for file, holds in zip(unsure, held, strict=True) if not holds]
    if changed:
        raise InputError(f"{changed[0].name}: it was changed while it was read{_others(changed)}. {_AGAIN}")


def _has_its_stamp(file: LogFile) -> bool:
    """Whether the file's stamp shows that it is unchanged, without reading it."""
    if file.text_sha256 is None or file.text_bytes is None:
        return True
    try:
        stamp = joined_stamps(*map(stamp_of, parts_of(file.path, file.format)))
    except OSError:
        return False
    return stamp is not None and stamp == file.stamp


def _still_holds(file: LogFile) -> bool:
    """Whether the file still begins with the text that was inspected; it may have grown."""
    assert file.text_bytes is not None, "a file without a hash has its stamp"
    try:
        return sha256_now(file.path, file.format, file.mapping, file.text_bytes) == file.text_sha256
    except (*UNREADABLE, InputError):
        return False


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
        f"{first['reason']}: {first['line'][:_SHOWN_OF_FIRST]!r}. Other columns, times or marks are read by "
        "./feedloop ingest --mapping, with examples in jobs/presets/logs; ingest into another --out then"
    )
