"""SUPPRESSIONS: users whose lines are not stored again; ERASURES: rows removed from each table, for an auditor."""

from __future__ import annotations

from schemas.table import Column, Table

SUPPRESSIONS = Table(
    name="suppressions",
    meaning="one row per forgotten user: their lines are not stored again",
    columns=(
        Column("source", "string", "as in raw_log"),
        Column("user_hmac", "string", "HMAC-SHA256 of the user id under the salt that this table notes, in hex"),
        Column("found", "boolean", "whether any table held rows of theirs at the request"),
        Column("run", "string", "the run of forget that was given the request, as in erasures"),
        Column("asked_at", "timestamp", "when that run began, UTC"),
    ),
    key=("source", "user_hmac"),
    partition_by=("source",),
)

ERASURES = Table(
    name="erasures",
    meaning="one row per run of forget, source and table that lost rows",
    columns=(
        Column("run", "string", "the run, named by when it began"),
        Column("source", "string", "as in raw_log"),
        Column("table_name", "string", "the table that lost rows"),
        Column("rows_erased", "long", "rows that it lost"),
        Column("version_before", "long", "the table's last Delta version with these rows"),
        Column("version_after", "long", "its first version without them"),
        Column("erased_at", "timestamp", "when the run was done with all tables, UTC"),
        Column("removable_from", "timestamp", "when maintain may first remove the old version's files and log, UTC"),
        Column("removed_at", "timestamp", "when they were removed; null: not yet", nullable=True),
    ),
    key=("run", "source", "table_name"),
)
