"""Replay: a source's lines in RAW_LOG are read again, after a rule or a mapping was mended, and its rows rebuilt.

All batches are read again in their order, whatever the mended rule is about: an impression may unite lines of any two
batches, and the tables do not tell what each line added. The rows come to be in tables of their own, below the lake,
by the very steps of ingest. Only when all are there, and not too many lines were refused, they take the place of the
source's own (`exchange.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from pyspark.sql import functions as F

from pipelines.delta.delta_errors import conflict
from pipelines.ingest.batch.audit import check_reject_share, refuse_refusals
from pipelines.ingest.batch.replace_rows import (
    EXCHANGED,
    FOLDER,
    Rebuilt,
    differences,
    exchange,
    finish_exchanges,
    note_of,
    rows_of,
    write_note,
)
from pipelines.ingest.batch.run_records import last_batch, of_source, pending_batches, sums_of, write_book
from pipelines.ingest.config import IngestConfig
from pipelines.ingest.flow import WRITTEN, complete_batch, parsed_lines, write_rows
from pipelines.ingest.parse.mapping import LogMapping
from pipelines.ingest.read.privacy import has_user_key
from pipelines.ingest.replay.batches import Batch, batches_of, changed_formats, formats_of
from pipelines.ingest.resolve.impressions import refuse_other_types
from pipelines.lake.suppression import refuse_half_forgotten
from pipelines.lake.tables import Lake
from schemas.impression import IMPRESSIONS
from schemas.raw_log import RAW_LOG
from schemas.storage.files import remove_folder
from schemas.storage.place import Place


def replay_logs(lake: Lake, config: IngestConfig, *, source: str, mapping: LogMapping | None = None) -> dict[str, Any]:
    """Rebuild the source's rows of all tables but RAW_LOG and INGEST_FILES, as ingest would make them today of the same
    batches in a new lake; what that changed. Of the config, earliest, from_ and max_reject_share count.

    `mapping`: reads the lines of the files that it names in place of the one by which they were read, those alone that
    arrived on the UTC date `from_` or later. InputError, and nothing is changed, where too many lines are refused.
    """
    with lake.locked("ingest"):
        refuse_half_forgotten(lake)
        finish_exchanges(lake, but=source)
        before = lake.versions(WRITTEN)
        for batch in pending_batches(lake, source):
            complete_batch(lake, source, batch)
        batches = batches_of(lake, source)
        formats = formats_of(lake, source, batches, mapping, config.from_)
        for format in sorted(set(formats.values())):
            refuse_other_types(lake, format)
        rebuilt = Rebuilt(lake, f"{FOLDER}/{uuid4().hex}")
        try:
            books = _rebuild(rebuilt, batches, formats, source, config)
            changes = _exchange_changed(lake, rebuilt, source, changed_formats(batches, formats))
        except Exception:
            if not note_of(lake, source).get("folder"):
                remove_folder(Place.of(rebuilt.root))
            raise
        totals, reasons = sums_of(books)
        return totals | {
            "source": source,
            "batches": len(books),
            "rejected_by_reason": reasons,
            "changes": changes,
            **lake.report("ingest", inputs=before, outputs=lake.versions(WRITTEN)),
        }


def _rebuild(
    rebuilt: Rebuilt, batches: Sequence[Batch], formats: Mapping[int, str], source: str, config: IngestConfig
) -> list[dict[str, int]]:
    """The batches' rows of the books, once all of what they say stands in the rebuilt tables."""
    books: list[dict[str, int]] = []
    withheld = has_user_key(rebuilt, source)
    for batch in batches:
        raw = of_source(rebuilt, RAW_LOG, source).where(F.col("batch") == batch.number)
        if batch.arrived_on is not None:
            raw = raw.where(F.col("arrived_on") == F.lit(batch.arrived_on))  # so that only this partition is read
        note = {
            "source": source,
            "batch": batch.number,
            "files": [{"lines": batch.lines, "skip": 0}],
            "impressions_version": rebuilt.version(IMPRESSIONS) if rebuilt.exists(IMPRESSIONS) else -1,
            "arrived_on": None if batch.arrived_on is None else batch.arrived_on.isoformat(),
        }
        how: dict[str, Any] = {"size": batch.bytes, "earliest": config.earliest}
        with rebuilt.scratch() as keep, parsed_lines(raw, formats[batch.number], keep=keep, **how) as parsed:
            check_reject_share(parsed.lines, config.max_reject_share, lines_before=0, withheld=withheld)
            books.append(write_rows(rebuilt, parsed, note, keep))
        write_book(rebuilt, books[-1], source, batch.number)
    lines, refused = (sum(book[name] for book in books) for name in ("lines", "rejected"))
    refuse_refusals(refused, lines, config.max_reject_share, source=source)
    return books


def _exchange_changed(
    lake: Lake, rebuilt: Rebuilt, source: str, formats: list[tuple[int, int, str]]
) -> dict[str, dict[str, int]]:
    """Exchange the rows of the tables where any differs; per table, how many did."""
    pairs = {table.name: rows_of(lake, rebuilt, table, source) for table in EXCHANGED}
    changes = {name: differences(*pair) for name, pair in pairs.items() if pair is not None}
    changed = [name for name, change in changes.items() if change["new"] or change["gone"]]
    if pending_batches(lake, source) or last_batch(lake, source) != last_batch(rebuilt, source):
        raise conflict(RAW_LOG, lake.path(RAW_LOG))  # as can be where no lock holds
    note: dict[str, Any] = {"formats": [list(each) for each in formats]}
    if changed:
        under_way = {"folder": rebuilt.root.removeprefix(f"{lake.root}/"), "made": rebuilt.versions(EXCHANGED)}
        write_note(lake, source, note | under_way | {"changed": changed})
        exchange(lake, source, note | under_way | {"changed": changed})
        return changes
    if formats or note_of(lake, source):
        write_note(lake, source, note)
    remove_folder(Place.of(rebuilt.root))
    return changes
