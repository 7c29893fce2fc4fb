"""Prints what maintain and forget did to the lake's tables: sizes, commits, and rows erased."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table as Screen

VACUUM_NOW_WARNING = (
    "--vacuum-now: files and log of old versions are removed at once. A job that reads this lake now can fail, and "
    "--as-of reaches no further back than this run"
)


def show_maintenance(
    states: dict[str, dict[str, Any]], commits: dict[str, list[dict[str, Any]]], histories: dict[str, float] | None
) -> None:
    """Print the sizes of each table, its latest commits, and the bytes of histories if they were counted."""
    console = Console(highlight=False)
    console.print(_sizes(states))
    console.print(_history(commits))
    if histories is not None:
        console.print(_saved(histories))


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


def _saved(found: dict[str, float]) -> str:
    stored = (found["histories"] + found["pointers"]) / 1e3
    lists = ", ".join(
        f"{found[order] / 1e3:,.0f} kB {order.replace('_', ' ')}" for order in ("unsorted", "sorted_by_user")
    )
    return f"Histories once: {stored:,.0f} kB. In every impression: {lists}"


def show_forgotten(summary: dict[str, Any]) -> None:
    """Print how many users were found, the rows that each table lost, and what is left to do; never an id."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"{summary['asked']:,} users asked for: {summary['found']:,} found, {summary['forgotten_before']:,} forgotten "
        f"before, {summary['not_found']:,} not found. Their lines are not stored from now on."
    )
    lost = {name: rows for name, rows in summary["rows_erased"].items() if rows}
    if lost:
        screen = Screen("table", title="Rows erased")
        screen.add_column("rows", justify="right")
        for name, rows in lost.items():
            screen.add_row(name, f"{rows:,}")
        console.print(screen)
    if summary["removable_from"] and not summary["removed"]:
        console.print(
            f"Old versions hold them until ./feedloop maintain runs after {summary['removable_from']}", style="yellow"
        )
    for each in summary["holdings"]:
        console.print(
            f"  {each['kind']} {each['path']}: {each['reason']}{'; ' * bool(each['done'])}{each['done']}", markup=False
        )
