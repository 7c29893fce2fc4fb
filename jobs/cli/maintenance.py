"""Prints what maintain did to the lake's tables: sizes before and after, and the changes of each commit."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table as Screen


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
