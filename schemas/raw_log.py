"""RAW_LOG, REJECTS, INGEST_FILES and INGEST_RUNS: lines as they came, rejected lines, and counts that balance."""

from __future__ import annotations

from schemas.table import Check, Column, Table

WITHHELD = "withheld"  # RAW_LOG.format of a line stored as sha256 and length only: user ids are replaced, it had none

RAW_LOG = Table(
    name="raw_log",
    meaning="every logged line as it came; append only",
    columns=(
        Column("source", "string", "which publisher or collector family sent it"),
        Column("file", "string", "path of its file, below the folder that was ingested"),
        Column("position", "long", "line or row number in the file, from 0"),
        Column("line", "binary", "the line's bytes, unchanged; a row of Parquet or Delta as JSON"),
        Column("format", "string", "how to read the line: jsonl, mind, a log mapping as JSON, or withheld"),
        Column("arrived_at", "timestamp", "when the run that read the line began"),
        Column("batch", "long", "the ingest batch that appended it, from 1 in each source"),
        Column("arrived_on", "date", "the UTC date of arrived_at; null: an older feedloop wrote it", True),
    ),
    key=("source", "file", "position", "batch"),
    partition_by=("source", "arrived_on"),  # not by batch: OPTIMIZE merges no files of two partitions
)

REJECT_REASONS = (
    "too_long",
    "not_utf8",
    "not_json",
    "duplicate_field",
    "wrong_column_count",
    "missing_field",
    "bad_id",
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
        Column("batch", "long", "the ingest batch that rejected it"),
        Column("arrived_on", "date", "as in raw_log", True),
    ),
    key=("source", "file", "position", "batch"),
    partition_by=("source", "arrived_on"),
    checks=(Check("known_reason", "reason IN (" + ", ".join(f"'{reason}'" for reason in REJECT_REASONS) + ")"),),
)

INGEST_FILES = Table(
    name="ingest_files",
    meaning="one row per file and batch that read lines of it: what need not be read again",
    columns=(
        Column("source", "string", "as in raw_log"),
        Column("file", "string", "as in raw_log"),
        Column("batch", "long", "the ingest batch that read it"),
        Column("bytes", "long", "of the file, up to the end of the last line that was read"),
        Column("lines", "long", "its lines so far: a file that has grown is read from there on"),
        Column("first_line_sha256", "string", "of its first line's bytes: older lakes distinguish contents by it"),
        Column("whole_lines", "boolean", "they end with a line end: if not, the last one is read again when it grows"),
        Column("text_bytes", "long", "bytes of the text read so far, line ends as line feeds; null: unknown", True),
        Column("text_sha256", "string", "of this text: a file that begins differently by now is refused", True),
        Column("stamp", "string", "size, times and inode at the last look: if equal, it is not read again", True),
    ),
    key=("source", "file", "batch"),
    partition_by=("source",),
)

INGEST_RUNS = Table(
    name="ingest_runs",
    meaning="one row per ingest batch, written last: lines = impressions + merged + rejected, at that time",
    columns=(
        Column("source", "string", "as in raw_log"),
        Column("batch", "long", "as in raw_log"),
        Column("files", "long", "files read"),
        Column("lines", "long", "lines in"),
        Column("impressions", "long", "rows that impressions gained; negative where a line proved two to be one"),
        Column("merged", "long", "lines of an impression that was already known: the sum of the next three"),
        Column("replayed", "long", "merged by rule 1: the same line again, or one with nothing new"),
        Column("retold", "long", "merged by rule 2: the same id again within 24 h, with other marks, time or history"),
        Column("double_logged", "long", "merged by rule 3: the same view under another id"),
        Column("repeated_news", "long", "lines changed by rule 4: a news shown twice is one candidate"),
        Column("rejected", "long", "lines in rejects"),
        Column("finished_at", "timestamp", "when the batch was complete"),
        Column("suppressed", "long", "lines of forgotten users that arrived and were not stored; not in lines", True),
        Column("forgotten", "long", "of lines: those that forget has since removed from raw_log; null = 0", True),
    ),
    key=("source", "batch"),
    partition_by=("source",),
    checks=(
        Check("balanced", "lines = impressions + merged + rejected"),
        Check("merged_by_rule", "merged = replayed + retold + double_logged"),
    ),
)
