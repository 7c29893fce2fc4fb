"""The ingest stage: new files in audited batches -> RAW_LOG, then the tables derived from it, then INGEST_RUNS.

Nothing is written until the audit has passed.

Every commit can be repeated: the next run completes a run that was killed anywhere. It first finds the batches of
RAW_LOG that INGEST_RUNS does not hold; the row in INGEST_RUNS is written last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime
from functools import partial
from typing import Any, NamedTuple

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipelines.delta.delta_errors import conflict
from pipelines.engine.data_files import Staged
from pipelines.engine.scratch import Keep
from pipelines.ingest.batch.audit import check_reject_share, read_lines
from pipelines.ingest.batch.replace_rows import finish_replacements
from pipelines.ingest.batch.run_records import (
    app_id,
    files_note,
    known_files,
    last_batch,
    of_source,
    pending_batches,
    raw_note,
    run_record,
    sums_of,
    write_files,
    write_run_record,
)  # fmt: skip
from pipelines.ingest.config import IngestConfig
from pipelines.ingest.discover.log_file import LogFile, in_batches
from pipelines.ingest.discover.previous_reads import Known
from pipelines.ingest.discover.sources import Found
from pipelines.ingest.parse.lines import EARLIEST, with_parsed
from pipelines.ingest.parse.mapping import mapping_of
from pipelines.ingest.read.privacy import refuse_other_key, store_user_key, with_replaced_users
from pipelines.ingest.read.readers import raw_lines
from pipelines.ingest.resolve.histories import write_histories
from pipelines.ingest.resolve.impressions import plan_impressions, refuse_other_types, write_impressions
from pipelines.ingest.resolve.observations import keyed_lines, refused, usable
from pipelines.ingest.suppressed_lines import lines_of_others, suppressed_of
from pipelines.lake.tables import Lake
from pipelines.session import sized_for
from schemas.impression import ALIASES, HISTORIES, IMPRESSIONS
from schemas.raw_log import INGEST_FILES, INGEST_RUNS, RAW_LOG, REJECTS, WITHHELD

WRITTEN = (RAW_LOG, IMPRESSIONS, ALIASES, HISTORIES, REJECTS, INGEST_FILES, INGEST_RUNS)
_DEFAULT = IngestConfig()


class Dates(NamedTuple):
    """The dates of a run that its commits note for each batch."""

    arrived_on: date  # UTC
    earliest: date = EARLIEST  # impressions with an earlier time are refused


def ingest_logs(
    lake: Lake,
    find: Callable[[Mapping[str, Known]], Found],
    *,
    source: str,
    arrived_at: datetime,
    user_key: bytes | None = None,
    max_batch_bytes: int = _DEFAULT.max_batch_bytes,
    max_reject_share: float = _DEFAULT.max_reject_share,
    earliest: date = _DEFAULT.earliest,
) -> dict[str, Any]:
    """Complete the batches that an earlier run left, ingest the new files, and return the summary of both.

    `find` gets the files that were read before and returns the new ones (`sources.find_new`). With a user key, user ids
    are replaced before anything is written. InputError if the audit fails; then nothing of the batch is committed.
    """
    with lake.locked("ingest"):
        finish_replacements(lake)
        before = lake.versions(WRITTEN)
        records = [complete_batch(lake, source, batch) for batch in pending_batches(lake, source)]
        new = find(known_files(lake, source))
        refuse_other_key(lake, source, user_key)
        dates = Dates(arrived_at.astimezone(UTC).date(), earliest)
        add = partial(ingest_batch, lake, source=source, user_key=user_key, dates=dates)
        for files in in_batches(new.files, max_batch_bytes):
            refuse_other_types(lake, files[0].lines_format)
            lines = raw_lines(lake.spark, files).withColumn("arrived_at", F.lit(arrived_at))
            lines_before = sum(record["lines"] for record in records)
            records.append(add(files, lines, max_reject_share=max_reject_share, lines_before=lines_before))
        totals, reasons = sums_of(records)
        return totals | {
            "source": source,
            "batches": len(records),
            "new_files": len(new.files),
            "unreadable_files": new.unreadable,
            "unfinished_lines": new.unfinished,
            "rejected_by_reason": reasons,
            **lake.report("ingest", inputs=before, outputs=lake.versions(WRITTEN)),
        }


def ingest_batch(
    lake: Lake,
    files: list[LogFile],
    lines: DataFrame,
    *,
    source: str,
    user_key: bytes | None,
    max_reject_share: float,
    dates: Dates,
    lines_before: int,
) -> dict[str, int]:
    """Write the new lines of some files into the tables as one batch, after the audit; returns its row of INGEST_RUNS.

    The lines are read once, into files of RAW_LOG that no version of the table holds yet: the bytes that are counted,
    parsed and committed are the same.
    """
    batch, format = last_batch(lake, source) + 1, files[0].lines_format
    if user_key is not None:
        lines = with_replaced_users(lines, format, user_key, dates.earliest)
    rows = lines.withColumns({"source": F.lit(source), "batch": F.lit(batch), "arrived_on": F.lit(dates.arrived_on)})
    with lake.scratch() as keep, staged_lines(lake, rows, files, source, keep) as (staged, suppressed):
        size, format = sum(file.bytes for file in files), _format_of(staged.frame)
        with parsed_lines(staged.frame, format, size=size, earliest=dates.earliest, keep=keep) as parsed:
            withheld = user_key is not None
            check_reject_share(parsed.lines, max_reject_share, lines_before=lines_before, withheld=withheld)
            store_user_key(lake, source, user_key)
            note = append_lines(lake, files, staged, source=source, batch=batch, dates=dates, suppressed=suppressed)
            return _write_batch(lake, parsed, note, keep)


@contextmanager
def staged_lines(
    lake: Lake, rows: DataFrame, files: Sequence[LogFile], source: str, keep: Keep
) -> Iterator[tuple[Staged, int]]:
    """A context with the files' rows for RAW_LOG, read once, checked and ready to commit; and the number of rows of
    forgotten users that were left out.
    """
    forgotten = suppressed_of(lake, source)
    with ExitStack() as stack:
        if forgotten is None:
            yield read_lines(rows, files, lambda lines: stack.enter_context(lake.staged(RAW_LOG, lines))), 0
            return
        # Rows of forgotten users never reach a file of the table.
        every = read_lines(rows, files, lambda lines: Staged(keep(lines))).frame
        staged = stack.enter_context(lake.staged(RAW_LOG, lines_of_others(every, forgotten)))
        yield staged, every.count() - staged.frame.count()


def append_lines(
    lake: Lake,
    files: list[LogFile],
    rows: DataFrame | Staged,
    *,
    source: str,
    batch: int,
    dates: Dates,
    suppressed: int = 0,
) -> dict[str, Any]:
    """Append the lines of `files` to RAW_LOG as the source's batch; returns the commit's note, which has all that
    completing the batch needs. `suppressed`: lines of forgotten users that were left out.

    InputError if another run has added a batch of this number meanwhile, which can happen where no lock holds (URLs).
    """
    since = lake.version(IMPRESSIONS) if lake.exists(IMPRESSIONS) else -1
    note = {"source": source, "batch": batch, "files": files_note(files), "impressions_version": since}
    note |= {name: each.isoformat() for name, each in dates._asdict().items()} | {"suppressed": suppressed}
    written = lake.append(RAW_LOG, rows, app_id=app_id(RAW_LOG, source), app_version=batch, note=note)
    if not written and raw_note(lake, source, batch)["files"] != note["files"]:
        raise conflict(RAW_LOG, lake.path(RAW_LOG))
    return note


def complete_batch(lake: Lake, source: str, batch: int) -> dict[str, int]:
    """Write a batch that an earlier run left in RAW_LOG into the other tables; returns its row of INGEST_RUNS."""
    note = raw_note(lake, source, batch)
    raw = of_source(lake, RAW_LOG, source).where(F.col("batch") == batch)
    size = sum(file["bytes"] for file in note["files"])
    options = {"size": size, "earliest": _earliest(note)}
    with lake.scratch() as keep, parsed_lines(raw, _format_of(raw), keep=keep, **options) as parsed:
        return _write_batch(lake, parsed, note, keep)


class Parsed(NamedTuple):
    """The parsed lines of a batch."""

    lines: DataFrame  # of `keyed_lines`: usable and refused ones
    extra: tuple[str, ...]  # names of the mapping's extra columns


@contextmanager
def parsed_lines(raw: DataFrame, format: str, *, size: int, earliest: date, keep: Keep) -> Iterator[Parsed]:
    """A context with a batch's lines, parsed by this format and kept; shuffles are sized for `size` bytes."""
    extra = () if format == "mind" else tuple(mapping_of(format).extra)
    with sized_for(raw.sparkSession, size):
        yield Parsed(keep(keyed_lines(with_parsed(raw, format, earliest), extra)), extra)


def _write_batch(lake: Lake, parsed: Parsed, note: Mapping[str, Any], keep: Keep) -> dict[str, int]:
    record = write_rows(lake, parsed, note, keep)
    write_files(lake, note, note["source"], note["batch"])
    write_run_record(lake, record, note["source"], note["batch"])
    return record


def write_rows(lake: Lake, parsed: Parsed, note: Mapping[str, Any], keep: Keep) -> dict[str, int]:
    """Write a parsed batch into the other tables, check that its counts balance, and return its row of INGEST_RUNS,
    which the caller writes.

    Read from the note of RAW_LOG's commit: source, batch, impressions_version, arrived_on; of its files lines and skip.
    """
    source, batch, since = note["source"], note["batch"], note["impressions_version"]
    lines = usable(parsed.lines)
    # Histories first, so that no impression is ever without its own.
    offsets = write_histories(lake, lines, source, batch, keep=keep)
    plan = plan_impressions(lake, lines, offsets, source=source, batch=batch, extra=parsed.extra, keep=keep)
    counts = write_impressions(lake, plan, source=source, batch=batch, since=since)
    arrived_on = F.lit(note.get("arrived_on")).cast("date")  # older versions noted none
    rows = refused(parsed.lines).withColumn("source", F.lit(source)).withColumn("batch", F.lit(batch))
    rows = rows.withColumn("arrived_on", arrived_on)
    lake.append(REJECTS, rows, app_id=app_id(REJECTS, source), app_version=batch)
    return run_record(lake, counts, note)


def _earliest(note: Mapping[str, Any]) -> date:
    """The earliest accepted date of a batch: the option of the run that read it, also when another run completes it."""
    return date.fromisoformat(note["earliest"]) if "earliest" in note else EARLIEST  # older versions noted none


def _format_of(raw: DataFrame) -> str:
    first = raw.where(F.col("format") != WITHHELD).select("format").first()
    return "jsonl" if first is None else str(first["format"])
