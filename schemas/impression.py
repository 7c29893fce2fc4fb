"""IMPRESSIONS: one row per page view; HISTORIES: each user's click sequence, stored once."""

from __future__ import annotations

from schemas.table import Column, Table

IMPRESSIONS = Table(
    name="impressions",
    meaning="one row per page view, whatever the number of lines that told of it",
    columns=(
        Column("source", "string", "which publisher it comes from"),
        Column("impression_id", "string", "the publisher's id; canonical = the smallest"),
        Column("user_id", "string", "the publisher's user id"),
        Column("time", "timestamp", "when it was shown, UTC; the earliest told"),
        Column("date", "date", "the UTC date of `time`"),
        Column("history_length", "int", "clicks the history held: a prefix of the user's sequence"),
        Column("history_hash", "long", "xxhash64 of that prefix: picks the sequence in histories"),
        Column("shown", "array<string>", "news ids in the order shown, each once"),
        Column("clicked", "array<boolean>", "click mark of each shown news; null = unlabelled", nullable=True),
        Column("first_batch", "long", "the ingest batch that first told of it"),
    ),
    key=("source", "impression_id", "user_id", "time"),
    partition_by=("source", "date"),
)

HISTORIES = Table(
    name="histories",
    meaning="each user's click sequences once; a history that is a prefix of another is not stored",
    columns=(
        Column("source", "string", "as in impressions"),
        Column("user_id", "string", "as in impressions"),
        Column("sequence_hash", "long", "xxhash64 of `clicks`"),
        Column("clicks", "array<string>", "news ids in click order, as the log gave them"),
    ),
    key=("source", "user_id", "sequence_hash"),
    partition_by=("source",),
)
