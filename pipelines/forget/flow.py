"""Forgets users: erases their rows from every table, suppresses their lines from now on, and records what was done.

The hashes of the users are written first; then a run erases all rows of such users that it finds. So the next run
completes a killed one, whatever file it is given.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pyspark.sql import DataFrame

from pipelines.engine.scratch import Keep
from pipelines.forget.erase_rows import ERASED, OF_USERS, commits_of, erase, note_of, update_counts
from pipelines.forget.requested_users import RequestedUser, stored_ids
from pipelines.ingest.batch.replace_rows import finish_replacements
from pipelines.ingest.batch.replace_rows import note_of as replay_note
from pipelines.ingest.batch.run_records import pending_batches
from pipelines.ingest.flow import complete_batch
from pipelines.ingest.suppressed_lines import PLACE, lines_of_users, rejects_of_users
from pipelines.lake.suppression import UNFINISHED, Suppressed, of_sources, salt_of, suppressed_in, suppressed_users
from pipelines.lake.tables import SCRATCH, Lake
from pipelines.maintain.erased_versions import file_retention, remove_erased, write_erasures
from pipelines.maintain.flow import exclusive
from schemas.erasure import SUPPRESSIONS
from schemas.errors import InputError
from schemas.raw_log import INGEST_RUNS, RAW_LOG, REJECTS
from schemas.storage.files import remove_folder
from schemas.storage.place import Place
from schemas.table import Table

_HMACS = 1000  # in a summary, at most
_USER = "source string, user_id string"


@dataclass(slots=True)
class UserRows:
    """The rows of the users, before any is erased."""

    users: DataFrame  # source, user_id
    lines: dict[str, DataFrame]  # by table: PLACE, user_hmac
    digests: set[tuple[str, str]] = field(default_factory=set)  # source and hash of each user with a row


def forget_users(
    lake: Lake, asked: Sequence[RequestedUser], *, key: bytes | None = None, at_once: bool = False
) -> dict[str, Any]:
    """Forget the users, and complete a run that was stopped; returns a summary.

    `at_once`: also remove the files and the log of old versions, which a running job may be reading, without waiting
    for the tables' retention.
    """
    with exclusive(lake, by="forget"):
        if not lake.exists(RAW_LOG):
            raise InputError(f"{lake.root}: nothing was ingested here, so there is nobody to forget. Mend --lake")
        remove_folder(Place.of(f"{lake.root}/{SCRATCH}"))
        finish_replacements(lake)
        sources = sources_of(lake)
        held = stored_ids(lake, asked, sources, key)
        for source in sources:
            for batch in pending_batches(lake, source):
                complete_batch(lake, source, batch)
        run = _start_or_resume(lake)
        update_counts(lake, run["run"], since=run["versions"])
        with lake.scratch() as keep:
            summary = _erase(lake, held, run, keep)
        update_counts(lake, run["run"], since=run["versions"])
        summary |= _record_erasures(lake, run)
        if lake.notes(SUPPRESSIONS).get(UNFINISHED):
            lake.note(SUPPRESSIONS, UNFINISHED, "")
        summary["removed"] = remove_erased(lake, at_once=at_once) if at_once else []
        return summary


def sources_of(lake: Lake) -> list[str]:
    """All sources of which the lake holds lines or rows."""
    there = [table for table in (*ERASED, INGEST_RUNS) if lake.exists(table)]
    return sorted({row["source"] for table in there for row in lake.read(table).select("source").distinct().collect()})


def _start_or_resume(lake: Lake) -> dict[str, Any]:
    """The run's id, its start and the tables' versions then; those of a stopped run, where there is one."""
    salt_of(lake)
    text = lake.notes(SUPPRESSIONS).get(UNFINISHED)
    if text:
        found: dict[str, Any] = json.loads(text)
        return found
    now = datetime.now(UTC)
    return {
        "run": now.strftime("%Y%m%dT%H%M%S.%fZ"),
        "began": now.isoformat(),
        "versions": lake.versions((*ERASED, INGEST_RUNS)),
    }


def _erase(
    lake: Lake, held: Mapping[RequestedUser, list[tuple[str, str]]], run: dict[str, Any], keep: Keep
) -> dict[str, Any]:
    before = suppressed_in(lake) or Suppressed(salt_of(lake), {})
    digests = {one: {(source, before.digest(source, user)) for source, user in users} for one, users in held.items()}
    stored = {(source, digest) for source, digests in before.digests.items() for digest in digests}
    everyone = stored.union(*digests.values())
    who = Suppressed(before.salt, {s: frozenset(d for at, d in everyone if at == s) for s in {s for s, _ in everyone}})
    found = _find(lake, who, keep)
    new = sorted(set().union(*digests.values()) - stored)
    if found.digests or new or lake.notes(SUPPRESSIONS).get(UNFINISHED):
        lake.note(SUPPRESSIONS, UNFINISHED, json.dumps(run, sort_keys=True))
    if new:
        _suppress(lake, new, found, run)
    for table in ERASED:
        if lake.exists(table):
            for source in sorted(who.digests):
                gone, on = (
                    (found.users, ("source", "user_id")) if table in OF_USERS else (found.lines[table.name], PLACE)
                )
                erase(lake, table, source, gone=gone, on=on, note=note_of(run["run"]))
    there = {one: bool(each & found.digests) for one, each in digests.items()}
    again = {one: each <= stored for one, each in digests.items()}
    return {
        "run": run["run"],
        "asked": len(held),
        "found": sum(there.values()),
        "forgotten_before": sum(again[one] and not there[one] for one in held),
        "not_found": sum(not again[one] and not there[one] for one in held),
        "users": [digest for _, digest in sorted(set().union(*digests.values()))][:_HMACS],
    }


def _find(lake: Lake, who: Suppressed, keep: Keep) -> UserRows:
    """Find the rows of these users. Ids come into this process exclusive, and lines are named by their place."""
    users = {
        (row["source"], row["user_id"])
        for table in OF_USERS
        if lake.exists(table)
        for row in suppressed_users(of_sources(lake.read(table), who), who).collect()
    }
    digests = {(source, who.digest(source, user)) for source, user in users}
    lines = keep(lines_of_users(of_sources(lake.read(RAW_LOG), who), who, _read_again(lake, who)))
    refused = lines
    if lake.exists(REJECTS):
        refused = keep(lines.unionByName(rejects_of_users(of_sources(lake.read(REJECTS), who), who)).distinct())
    digests |= {(row[0], row[1]) for row in refused.select("source", "user_hmac").distinct().collect()}
    frame = lake.spark.createDataFrame(sorted(users), _USER)
    return UserRows(frame, {RAW_LOG.name: lines, REJECTS.name: refused}, digests)


def _read_again(lake: Lake, who: Suppressed) -> list[tuple[str, int, int, str]]:
    """The formats by which replays have read lines again."""
    formats = {source: replay_note(lake, source).get("formats", []) for source in who.digests}
    return [(source, *each) for source, again in sorted(formats.items()) for each in again]


def _suppress(lake: Lake, new: Sequence[tuple[str, str]], found: UserRows, run: Mapping[str, Any]) -> None:
    began = datetime.fromisoformat(run["began"])
    rows = [(source, digest, (source, digest) in found.digests, run["run"], began) for source, digest in new]
    types = "source string, user_hmac string, found boolean, run string, asked_at timestamp"
    version = lake.version(SUPPRESSIONS)  # makes the app_id unique: a stopped run may have written some already
    frame = lake.spark.createDataFrame(rows, types)
    lake.append(SUPPRESSIONS, frame, app_id=f"feedloop.forget.{run['run']}.{version}", app_version=1)


def _record_erasures(lake: Lake, run: Mapping[str, Any]) -> dict[str, Any]:
    """Write to ERASURES what the run's commits have erased, and return it for the summary."""
    now, rows = datetime.now(UTC), []
    for table in ERASED:
        commits = commits_of(lake, table, run["run"], since=run["versions"].get(table.name, 0))
        for source in sorted({note["of"] for _, note in commits}):
            ours = [(version, note["rows"]) for version, note in commits if note["of"] == source]
            rows.append(_erasure(lake, table, source, ours) | {"run": run["run"], "erased_at": now})
    for row in rows:
        row["removable_from"] = now + row.pop("file_retention")
    write_erasures(lake, run["run"], rows)
    last = max((row["removable_from"] for row in rows), default=None)
    return {
        "rows_erased": {
            table.name: sum(row["rows_erased"] for row in _by_table(rows).get(table.name, [])) for table in ERASED
        },
        "versions": {
            name: {"before": min(row["version_before"] for row in ours), "after": max(r["version_after"] for r in ours)}
            for name, ours in _by_table(rows).items()
        },
        "removable_from": None if last is None else last.isoformat(timespec="seconds"),
    }


def _by_table(rows: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    names = dict.fromkeys(row["table_name"] for row in rows)
    return {name: [row for row in rows if row["table_name"] == name] for name in names}


def _erasure(lake: Lake, table: Table, source: str, ours: Sequence[tuple[int, int]]) -> dict[str, Any]:
    return {
        "source": source,
        "table_name": table.name,
        "rows_erased": sum(count for _, count in ours),
        "version_before": min(version for version, _ in ours) - 1,
        "version_after": max(version for version, _ in ours),
        "removed_at": None,
        "file_retention": file_retention(lake, table),
    }
