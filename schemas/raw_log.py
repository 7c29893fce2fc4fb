"""RAW_LOG, REJECTS and INGEST_RUNS: lines as they came, lines refused, and the books that balance."""

from __future__ import annotations

from schemas.table import Column, Table

RAW_LOG = Table(
    name="raw_log",
    meaning="every logged line as it came; append only",
    columns=(
        Column("source", "string", "which publisher or collector family sent it"),
        Column("file", "string", "path of the file it stood in, below the folder that was ingested"),
        Column("position", "long", "line number in the file, from 0"),
        Column("line", "binary", "the line's bytes, unchanged"),
        Column("arrived_at", "timestamp", "when the run that read it began"),
        Column("batch", "long", "the ingest batch that appended it, from 1 in each source"),
    ),
    key=("source", "file", "position"),
    partition_by=("source", "batch"),
)

REJECT_REASONS = (
    "not_utf8",
    "not_json",
    "wrong_column_count",
    "missing_field",
    "bad_time",
    "bad_click_mark",
    "nothing_shown",
    "clicked_not_shown",
)

REJECTS = Table(
    name="rejects",
    meaning="lines that hold no usable impression, each with its reason",
    columns=(
        Column("source", "string", "as in raw_log"),
        Column("file", "string", "as in raw_log"),
        Column("position", "long", "as in raw_log"),
        Column("line", "string", "the line, bytes that are not UTF-8 replaced"),
        Column("reason", "string", "one of REJECT_REASONS"),
        Column("batch", "long", "the ingest batch that refused it"),
    ),
    key=("source", "file", "position"),
    partition_by=("source", "batch"),
)

INGEST_RUNS = Table(
    name="ingest_runs",
    meaning="one row per ingest batch, written last: lines = impressions + merged + rejected",
    columns=(
        Column("source", "string", "as in raw_log"),
        Column("batch", "long", "as in raw_log"),
        Column("files", "long", "files read"),
        Column("lines", "long", "lines in"),
        Column("impressions", "long", "new rows in impressions"),
        Column("merged", "long", "lines that told of an impression already known"),
        Column("rejected", "long", "lines in rejects"),
        Column("finished_at", "timestamp", "when the batch was complete"),
    ),
    key=("source", "batch"),
)
