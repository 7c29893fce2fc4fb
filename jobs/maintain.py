"""Maintains the lake: compacts small files, removes old versions after their retention, prints the tables' history."""

from __future__ import annotations

from typing import Any

from jobs.cli.command_line import run
from jobs.cli.maintenance import show_maintenance
from pipelines.delta.table_ddl import TABLES
from pipelines.engine.choice import EngineConfig, session_for
from pipelines.history_bytes import history_bytes as bytes_of
from pipelines.lake.opening import open_lake
from pipelines.maintain.flow import MaintenanceConfig, history, maintain_lake
from pipelines.maintain.retention import ExpiryConfig
from pipelines.session import plain_errors
from schemas.errors import InputError
from schemas.storage.place import Place


def maintain(
    *,
    lake: Place,
    history_rows: int = 5,
    history_bytes: bool = False,
    engine: EngineConfig = EngineConfig(),  # noqa: B008 - frozen
    config: MaintenanceConfig = MaintenanceConfig(),  # noqa: B008 - frozen
    expiry: ExpiryConfig = ExpiryConfig(),  # noqa: B008 - frozen
) -> dict[str, Any]:
    """Compact the lake's tables, remove old versions and expired rows. No job may write to the lake meanwhile.

    Parameters
    ----------
    lake
        Folder of the Delta tables.
    history_rows
        Commits of each table to print, newest first.
    history_bytes
        Also measure what storing each history once saves: writes them into every impression, twice, to compare.
    """
    with plain_errors():
        tables = open_lake(session_for("feedloop maintain", engine), lake)
        found = [table for table in TABLES if tables.exists(table)]
        if not found:
            raise InputError(f"{lake}: there is no table of feedloop. Name the folder that ingest wrote with --lake")
        states = maintain_lake(tables, config, expiry)
        commits = {table.name: history(tables, table, limit=history_rows) for table in found}
        before, after = (
            {name: state[when]["version"] for name, state in states.items()} for when in ("before", "after")
        )
        versions = tables.report("maintain", inputs=before, outputs=after)
        histories = {"histories": bytes_of(tables)} if history_bytes else {}
    show_maintenance(states, commits, histories.get("histories"))
    return {"tables": states, "history": commits, **histories, **versions}


if __name__ == "__main__":
    raise SystemExit(run(maintain))
