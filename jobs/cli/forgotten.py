"""Prints what forget did: the rows that each table lost, and what outside of the lake was made of them."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table as Screen

WARNING = (
    "--vacuum-now: files and log of old versions are removed at once. A job that reads this lake now can fail, and "
    "--as-of reaches no further back than this run"
)


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
