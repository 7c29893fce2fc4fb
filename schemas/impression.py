"""IMPRESSIONS: one row per page view; ALIASES: its other names; HISTORIES: each user's click sequence, stored once."""

from __future__ import annotations

from schemas.table import Check, Column, Table

IMPRESSIONS = Table(
    name="impressions",
    meaning="one row per page view, whatever the number of lines that logged it",
    columns=(
        Column("source", "string", "which publisher it comes from"),
        Column("impression_id", "string", "the publisher's id; canonical = the smallest of its first second"),
        Column("user_id", "string", "the publisher's user id"),
        Column("time", "timestamp", "when it was shown, UTC; the earliest logged"),
        Column("date", "date", "the UTC date of `time`"),
        Column("last_time", "timestamp", "the latest time logged"),
        Column("span_days", "int", "days from `date` to that of `last_time`; over 1 is rare"),
        Column("history_length", "int", "clicks in the history: a slice of a sequence of the user"),
        Column("history_hash", "long", "xxhash64 of that slice: picks the sequence in histories"),
        Column("shown", "array<string>", "news ids in the order shown, each once"),
        Column("clicked", "array<boolean>", "click mark of each shown news; null = unlabelled", nullable=True),
        Column("also_seen_as", "array<string>", "other ids under which it was logged, sorted"),
        Column("sighting_id", "array<string>", "observations: the id of each; null = one only", nullable=True),
        Column("sighting_time", "array<timestamp>", "observations: the time of each; null = one only", nullable=True),
        Column("sighting_shown", "array<long>", "observations: hash of the set of news each showed; never null"),
        Column("first_batch", "long", "the ingest batch that first logged it"),
        Column("history_offset", "int", "clicks of the sequence before the slice; null = 0, a prefix", nullable=True),
    ),
    key=("source", "impression_id", "user_id", "time"),
    partition_by=("source", "date"),
    ordered_by="time",
    checks=(
        Check("something_shown", "cardinality(shown) > 0"),
        Check("clicked_in_shown", "clicked IS NULL OR cardinality(clicked) = cardinality(shown)"),
        Check("time_plausible", "last_time >= time"),
        Check("date_of_time", "date = CAST(time AS DATE)"),
        Check("history_length", "history_length >= 0"),
        Check("history_offset", "history_offset IS NULL OR history_offset > 0"),
    ),
    deletion_vectors=True,
)

ALIASES = Table(
    name="aliases",
    meaning="every other id and time under which an impression was logged -> its canonical id and time",
    columns=(
        Column("source", "string", "as in impressions"),
        Column("impression_id", "string", "an id from the log"),
        Column("user_id", "string", "as in impressions"),
        Column("time", "timestamp", "the time logged with it"),
        Column("canonical_id", "string", "impression_id of the row in impressions"),
        Column("canonical_time", "timestamp", "time of the row in impressions"),
    ),
    key=("source", "impression_id", "user_id", "time"),
    partition_by=("source",),
    deletion_vectors=True,
)

HISTORIES = Table(
    name="histories",
    meaning="each user's click sequences once; histories that overlap are slices of one",
    columns=(
        Column("source", "string", "as in impressions"),
        Column("user_id", "string", "as in impressions"),
        Column("sequence_hash", "long", "xxhash64 of `clicks`"),
        Column("clicks", "array<string>", "news ids in click order, as the log gave them"),
    ),
    key=("source", "user_id", "sequence_hash"),
    partition_by=("source",),
    deletion_vectors=True,
)
