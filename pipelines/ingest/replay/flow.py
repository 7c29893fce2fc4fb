"""Reads a source's lines in RAW_LOG again, after a rule or a mapping was mended, and rebuilds its rows.

All batches are read again in their order, whatever rule was mended: an impression may unite lines of any two batches,
and the tables do not record what each line added. The same steps as in ingest write the rows into tables of their own,
below the lake. When all rows are there, and not too many lines were refused, they replace the source's rows
(`batch/replace_rows.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from pyspark.sql import functions as F

from pipelines.delta.delta_errors import conflict
from pipelines.ingest.batch.audit import check_reject_share, check_replayed_share
from pipelines.ingest.batch.replace_rows import (
    FOLDER,
    REPLACED_TABLES,
    RebuiltLake,
    differences,
    finish_replacements,
    note_of,
    replace_rows,
    rows_of,
    write_note,
)
from pipelines.ingest.batch.run_records import last_batch, of_source, pending_batches, sums_of, write_run_record
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
    """Rebuild the source's rows of all tables but RAW_LOG and INGEST_FILES, as ingest would write them today from the
    same batches in a new lake; returns what changed. Of the config, earliest, from_ and max_reject_share count.

    `mapping`: reads the lines of the files that it names instead of the mapping by which they were read, but only lines
    that arrived on the UTC date `from_` or later. InputError, and nothing is changed, if too many lines are refused.
    """
    with lake.locked("ingest"):
        refuse_half_forgotten(lake)
        finish_replacements(lake, skip_lost_of=source)
        before = lake.versions(WRITTEN)
        for batch in pending_batches(lake, source):
            complete_batch(lake, source, batch)
        batches = batches_of(lake, source)
        formats = formats_of(lake, source, batches, mapping, config.from_)
        for format in sorted(set(formats.values())):
            refuse_other_types(lake, format)
        rebuilt = RebuiltLake(lake, f"{FOLDER}/{uuid4().hex}")
        try:
            records = _rebuild(rebuilt, batches, formats, source, config)
            changes = _replace_changed(lake, rebuilt, source, changed_formats(batches, formats))
        except Exception:
            if not note_of(lake, source).get("folder"):
                remove_folder(Place.of(rebuilt.root))
            raise
        totals, reasons = sums_of(records)
        return totals | {
            "source": source,
            "batches": len(records),
            "rejected_by_reason": reasons,
            "changes": changes,
            **lake.report("ingest", inputs=before, outputs=lake.versions(WRITTEN)),
        }


def _rebuild(
    rebuilt: RebuiltLake, batches: Sequence[Batch], formats: Mapping[int, str], source: str, config: IngestConfig
) -> list[dict[str, int]]:
    """Write all batches into the rebuilt tables; returns their rows of INGEST_RUNS."""
    records: list[dict[str, int]] = []
    withheld = has_user_key(rebuilt, source)
    for batch in batches:
        raw = of_source(rebuilt, RAW_LOG, source).where(F.col("batch") == batch.number)
        if batch.arrived_on is not None:
            raw = raw.where(F.col("arrived_on") == F.lit(batch.arrived_on))  # reads only this partition
        note = {
            "source": source,
            "batch": batch.number,
            "files": [{"lines": batch.lines, "skip": 0}],
            "impressions_version": rebuilt.version(IMPRESSIONS) if rebuilt.exists(IMPRESSIONS) else -1,
            "arrived_on": None if batch.arrived_on is None else batch.arrived_on.isoformat(),
        }
        options: dict[str, Any] = {"size": batch.bytes, "earliest": config.earliest}
        with rebuilt.scratch() as keep, parsed_lines(raw, formats[batch.number], keep=keep, **options) as parsed:
            check_reject_share(parsed.lines, config.max_reject_share, lines_before=0, withheld=withheld)
            records.append(write_rows(rebuilt, parsed, note, keep))
        write_run_record(rebuilt, records[-1], source, batch.number)
    lines, refused = (sum(record[name] for record in records) for name in ("lines", "rejected"))
    check_replayed_share(refused, lines, config.max_reject_share, source=source)
    return records


def _replace_changed(
    lake: Lake, rebuilt: RebuiltLake, source: str, formats: list[tuple[int, int, str]]
) -> dict[str, dict[str, int]]:
    """Replace the source's rows in the tables where any row differs; returns the differences of each table."""
    pairs = {table.name: rows_of(lake, rebuilt, table, source) for table in REPLACED_TABLES}
    changes = {name: differences(*pair) for name, pair in pairs.items() if pair is not None}
    changed = [name for name, change in changes.items() if change["new"] or change["gone"]]
    if pending_batches(lake, source) or last_batch(lake, source) != last_batch(rebuilt, source):
        raise conflict(RAW_LOG, lake.path(RAW_LOG))  # possible where no lock holds
    note: dict[str, Any] = {"formats": [list(each) for each in formats]}
    if changed:
        under_way = {"folder": rebuilt.root.removeprefix(f"{lake.root}/"), "made": rebuilt.versions(REPLACED_TABLES)}
        write_note(lake, source, note | under_way | {"changed": changed})
        replace_rows(lake, source, note | under_way | {"changed": changed})
        return changes
    if formats or note_of(lake, source):
        write_note(lake, source, note)
    remove_folder(Place.of(rebuilt.root))
    return changes
