"""Forgets users: takes their rows out of the lake, keeps their lines out, names or mends what was made of them."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from jobs.cli.command_line import run
from jobs.cli.forgotten import WARNING, show_forgotten
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
    """Forget users: every row of theirs leaves every table. Running it again, or after a kill, completes it.

    Old versions hold them until `maintain` runs after the tables' retention, which the summary tells.

    Parameters
    ----------
    lake
        Folder of the Delta tables.
    user_file
        One user a line: the id as the log has it, or its HMAC; a tab and a source behind it mean that source alone.
    user_key_file
        The key of `ingest`, where the lake holds HMACs and the file ids; or FEEDLOOP_USER_KEY holds it.
    packed
        Packed directories, or folders of such, to look into: which hold these users.
    runs
        Folders of runs, exports and figures: records of these users go; checkpoints made of their rows are named.
    rebuild
        Pack those packed directories again, in their place and by their own options.
    vacuum_now
        Also remove files and log of old versions at once: only while nobody reads the lake.
    engine
        What runs the job: this process alone, or Apache Spark.
    """
    asked = read_requested_users(user_file)
    key = given_user_key(user_key_file, os.environ.get("FEEDLOOP_USER_KEY"))
    with plain_errors():
        tables = open_lake(session_for("feedloop forget", engine), lake)
        with tables.locked("erasure", by="forget"):  # two runs would pack one directory in each other's way
            packs = [folder_of(finish_repack(each)) for each in packed or []]
            others = [folder_of(each) for each in runs or []]
            if vacuum_now:
                print(WARNING, file=sys.stderr)
            before = tables.versions(TABLES)
            summary = forget_users(tables, asked, key=key, at_once=vacuum_now)
            holdings = find_holdings(tables, packs, others, partial(repack, tables) if rebuild else None)
            versions = tables.report("forget", inputs=before, outputs=tables.versions(TABLES))
    summary |= {"holdings": [asdict(each) for each in holdings], **versions}
    show_forgotten(summary)
    return summary


if __name__ == "__main__":
    raise SystemExit(run(forget))
