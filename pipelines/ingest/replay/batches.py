"""The batches of RAW_LOG that a replay reads again, and the format by which it reads each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatchcase
from itertools import groupby

from pyspark.sql import functions as F

from pipelines.delta.log import is_table
from pipelines.ingest.batch.replace_rows import note_of
from pipelines.ingest.batch.run_records import of_source
from pipelines.ingest.discover.log_file import UNPACKED
from pipelines.ingest.discover.table_log import table_log
from pipelines.ingest.parse.mapping import JSONL, LogMapping
from pipelines.ingest.read.privacy import has_user_key
from pipelines.lake.tables import Lake
from schemas.errors import InputError
from schemas.raw_log import INGEST_FILES, INGEST_RUNS, RAW_LOG, WITHHELD

Formats = list[tuple[int, int, str]]  # first batch, last batch, the format that replaces RAW_LOG.format there


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A batch as RAW_LOG holds it."""

    number: int
    lines: int = 0
    bytes: int = 0
    format: str = JSONL  # by which it was read when it came
    arrived_on: date | None = None  # as in RAW_LOG: null in rows of an older feedloop
    arrived: date = date.max  # date.max: a batch without a line, where nothing is read


def replayed_bytes(lake: str, source: str) -> int:
    """Approximate bytes of text that a replay of the source reads. InputError, before an engine runs, if none."""
    path = f"{lake.rstrip('/')}/{RAW_LOG.name}"
    files = table_log(path).files if is_table(path) else ()
    held = [file.bytes for file in files if file.partition.get("source") == source]
    if not held:
        raise _nothing_ingested(lake, source)
    return sum(held) * UNPACKED


def batches_of(lake: Lake, source: str) -> list[Batch]:
    """All batches of the source that INGEST_RUNS holds, in their order.

    InputError if there is none, or if RAW_LOG holds another number of lines of one than INGEST_RUNS says.
    """
    recorded = _recorded_lines(lake, source)
    if not recorded:
        raise _nothing_ingested(lake.root, source)
    held = {batch.number: batch for batch in _stored_batches(lake, source)}
    batches = [held.get(number, Batch(number=number)) for number in sorted(recorded)]
    wrong = [batch for batch in batches if batch.lines != recorded[batch.number]]
    if wrong:
        raise InputError(
            f"{lake.path(RAW_LOG)}: holds {wrong[0].lines} lines of batch {wrong[0].number} of {source}, which had "
            f"{recorded[wrong[0].number]}. A replay would lose the impressions of the others, so nothing was changed. "
            "Restore the table to a version that has them; lines that maintain removed by --raw-log-days are lost"
        )
    return batches


def formats_of(
    lake: Lake, source: str, batches: Sequence[Batch], mapping: LogMapping | None, since: date | None
) -> dict[int, str]:
    """The format by which each batch is read again: the mapping, for files that it names and that arrived on `since` or
    later; else that of the last replay, or else the one by which it was read when it came.

    InputError if the mapping can read none of the batches, or only a part of one.
    """
    again: Formats = note_of(lake, source).get("formats", [])
    formats = {batch.number: batch.format for batch in batches}
    for first, last, format in again:
        formats |= {number: format for number in formats if first <= number <= last}
    if mapping is None:
        if since is not None:
            raise InputError(
                "--from selects the arrivals that --mapping reads. Without a mapping all lines are read again alike: "
                "an impression may unite lines of any two batches. Drop --from, or add --mapping"
            )
        return formats
    _refuse_other_lines(lake, source, mapping)
    later = [batch.number for batch in batches if since is None or batch.arrived >= since]
    return formats | dict.fromkeys(_batches_named(lake, source, mapping, later), mapping.as_format)


def changed_formats(batches: Sequence[Batch], formats: Mapping[int, str]) -> Formats:
    """The formats that differ from RAW_LOG's own, as a ReplayNote holds them."""
    found = []
    for format, run in groupby(batches, key=lambda batch: formats[batch.number]):
        same = list(run)
        if any(batch.format != format for batch in same if batch.lines):
            found.append((same[0].number, same[-1].number, format))
    return found


def is_named(name: str, pattern: str) -> bool:
    """Whether the glob `files` of a mapping matches a file below the folder of logs."""
    return _matches(name.split("/"), pattern.split("/"))


def _nothing_ingested(lake: str, source: str) -> InputError:
    return InputError(
        f"{lake}: nothing was ingested here from source {source!r}, so nothing can be replayed. Name the --lake and "
        "the --source of earlier runs"
    )


def _recorded_lines(lake: Lake, source: str) -> dict[int, int]:
    """The number of lines of each batch by INGEST_RUNS, without those of users who were forgotten since."""
    if not lake.exists(INGEST_RUNS):
        return {}
    rows = of_source(lake, INGEST_RUNS, source).select("batch", "lines", "forgotten").collect()
    return {row["batch"]: row["lines"] - (row["forgotten"] or 0) for row in rows}


def _stored_batches(lake: Lake, source: str) -> list[Batch]:
    format = F.max(F.when(F.col("format") != WITHHELD, F.col("format")))
    found = of_source(lake, RAW_LOG, source).groupBy("batch").agg(
        F.count("*").alias("lines"),
        F.sum(F.octet_length("line")).alias("bytes"),
        format.alias("format"),
        F.max("arrived_on").alias("arrived_on"),
        F.to_date(F.max("arrived_at")).alias("arrived_at"),
    )  # fmt: skip
    return [
        Batch(
            number=row["batch"],
            lines=row["lines"],
            bytes=row["bytes"],
            format=row["format"] or JSONL,
            arrived_on=row["arrived_on"],
            arrived=row["arrived_on"] or row["arrived_at"],
        )
        for row in found.collect()
    ]


def _refuse_other_lines(lake: Lake, source: str, mapping: LogMapping) -> None:
    """InputError if RAW_LOG does not hold the lines that a mapping of the log describes."""
    kept = "raw_log keeps only what the first mapping read, under feedloop's own names, so another one finds no more"
    advice = "Replay without --mapping, or ingest the logs with it into another --lake or --source"
    if mapping.format != JSONL:
        raise InputError(f"--mapping: of the rows of {mapping.format} logs {kept}. {advice}")
    if has_user_key(lake, source):
        raise InputError(f"--mapping: user ids of {source} are replaced. Of such lines {kept}. {advice}")


def _batches_named(lake: Lake, source: str, mapping: LogMapping, batches: Iterable[int]) -> list[int]:
    """The batches that hold lines of files that the mapping names."""
    files = of_source(lake, INGEST_FILES, source).select("batch", "file").collect()
    wanted = set(batches)
    named: dict[int, list[str]] = {}
    others: dict[int, list[str]] = {}
    for row in files:
        if row["batch"] in wanted:
            (named if is_named(row["file"], mapping.files) else others).setdefault(row["batch"], []).append(row["file"])
    if not named:
        raise InputError(
            f"--mapping: none of the replayed lines came from a file that its files = {mapping.files!r} "
            f"names; there are {', '.join(sorted({name for each in others.values() for name in each})[:3]) or 'none'}"
            ". Mend files, --source or --from"
        )
    mixed = sorted(named.keys() & others.keys())
    if mixed:
        raise InputError(
            f"--mapping: files = {mapping.files!r} names {min(named[mixed[0]])}, but not {min(others[mixed[0]])}, and "
            f"both were read together, as batch {mixed[0]}. Let files name both"
        )
    rows = sorted(name for each in named.values() for name in each if name.endswith(".parquet"))
    if rows:
        raise InputError(f"--mapping: reads {rows[0]} as JSON lines, and it is Parquet by its name. Mend files")
    return list(named)


def _matches(names: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not names
    if pattern[0] == "**":
        return any(_matches(names[at:], pattern[1:]) for at in range(len(names) + 1))
    return bool(names) and fnmatchcase(names[0], pattern[0]) and _matches(names[1:], pattern[1:])
