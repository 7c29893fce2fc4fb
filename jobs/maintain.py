"""Care of the lake: compacts small files, removes old versions after their retention, prints the tables' history."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table as Screen

from jobs.config import run
from pipelines.maintenance import CareConfig, history, maintain_lake
from pipelines.making import TABLES
from pipelines.session import build_session, plain_errors
from pipelines.tables import Lake
from schemas.errors import InputError


def maintain(
    *,
    lake: str,
    history_rows: int = 5,
    config: CareConfig = CareConfig(),  # noqa: B008 - frozen
) -> dict[str, Any]:
    """Compact the lake's tables and remove old versions. No job that writes the lake runs meanwhile.

    Parameters
    ----------
    lake
        Folder of the Delta tables.
    history_rows
        Commits of each table to print, newest first.
    """
    with plain_errors():
        tables = Lake(build_session("feedloop maintain"), str(lake))
        found = [table for table in TABLES if tables.exists(table)]
        if not found:
            raise InputError(f"{lake}: no table of feedloop lies there. Name the folder that ingest wrote with --lake")
        states = maintain_lake(tables, config)
        commits = {table.name: history(tables, table, limit=history_rows) for table in found}
        before, after = (
            {name: state[when]["version"] for name, state in states.items()} for when in ("before", "after")
        )
        versions = tables.report("maintain", inputs=before, outputs=after)
    console = Console(highlight=False)
    console.print(_sizes(states))
    console.print(_history(commits))
    return {"tables": states, "history": commits, **versions}


def _sizes(states: dict[str, dict[str, Any]]) -> Screen:
    screen = Screen("table", title="Tables, before → after")
    for name in ("rows", "files", "kB", "kB with old versions and log"):
        screen.add_column(name, justify="right")
    for name, state in states.items():
        before, after = state["before"], state["after"]
        sizes = [f"{before['rows']:,}", f"{before['files']:,} → {after['files']:,}"]
        for key in ("bytes", "bytes_in_folder"):
            sizes.append(f"{before[key] / 1e3:,.0f} → {after[key] / 1e3:,.0f}")
        screen.add_row(name, *sizes)
    return screen


def _history(commits: dict[str, list[dict[str, Any]]]) -> Screen:
    columns = ("version", "time", "operation", "inserted", "updated", "deleted")
    screen = Screen("table", *columns, title="History (UTC)")
    for name, rows in commits.items():
        for row in rows:
            screen.add_row(name, *(str(row[column]) for column in columns))
        screen.add_section()
    return screen


if __name__ == "__main__":
    raise SystemExit(run(maintain))
