"""Forgets users: removes their rows from the lake, no longer stores their lines, lists or rebuilds derived data."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from jobs.cli.command_line import run
from jobs.cli.maintenance import VACUUM_NOW_WARNING, show_forgotten
from pipelines.delta.table_ddl import TABLES
from pipelines.engine.choice import EngineConfig, session_for
from pipelines.forget.flow import forget_users
from pipelines.forget.holdings import folder_of
from pipelines.forget.outside_lake import find_holdings
from pipelines.forget.requested_users import read_requested_users
from pipelines.ingest.read.privacy import given_user_key
from pipelines.lake.opening import open_lake
from pipelines.packing.repack import finish_repack, repack
from pipelines.session import plain_errors
from schemas.storage.place import Place


def forget(
    *,
    lake: Place,
    user_file: Path,
    user_key_file: Place | None = None,
    packed: list[Place] | None = None,
    runs: list[Place] | None = None,
    rebuild: bool = False,
    vacuum_now: bool = False,
    engine: EngineConfig = EngineConfig(),  # noqa: B008 - frozen
) -> dict[str, Any]:
    """Forget users: remove all their rows from every table. Running it again, or after a kill, completes it.

    Old versions hold them until `maintain` runs after the tables' retention, which the summary states.

    Parameters
    ----------
    lake
        Folder of the Delta tables.
    user_file
        One user per line: the id as in the log, or its HMAC; a tab and a source after it limit it to that source.
    user_key_file
        The key of `ingest`, if the lake holds HMACs and the file ids; or FEEDLOOP_USER_KEY holds it.
    packed
        Packed directories, or folders of them, to search for these users.
    runs
        Folders of runs, exports and figures: records of these users are removed, checkpoints of their rows listed.
    rebuild
        Pack those packed directories again, in place and with their own options.
    vacuum_now
        Also remove files and log of old versions at once: only while no job reads the lake.
    engine
        What runs the job: this process alone, or Apache Spark.
    """
    asked = read_requested_users(user_file)
    key = given_user_key(user_key_file, os.environ.get("FEEDLOOP_USER_KEY"))
    with plain_errors():
        tables = open_lake(session_for("feedloop forget", engine), lake)
        with tables.locked("erasure", by="forget"):  # two runs must not pack one directory at the same time
            packs = [folder_of(finish_repack(each)) for each in packed or []]
            others = [folder_of(each) for each in runs or []]
            if vacuum_now:
                print(VACUUM_NOW_WARNING, file=sys.stderr)
            before = tables.versions(TABLES)
            summary = forget_users(tables, asked, key=key, at_once=vacuum_now)
            holdings = find_holdings(tables, packs, others, partial(repack, tables) if rebuild else None)
            versions = tables.report("forget", inputs=before, outputs=tables.versions(TABLES))
    summary |= {"holdings": [asdict(each) for each in holdings], **versions}
    show_forgotten(summary)
    return summary


if __name__ == "__main__":
    raise SystemExit(run(forget))
