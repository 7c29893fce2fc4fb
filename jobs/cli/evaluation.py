"""Prints evaluate's table of methods and its alarms, and writes its files."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.table import Table

from jobs.cli.progress import console
from schemas.errors import InputError
from schemas.storage.copies import published_with_siblings
from schemas.storage.place import Place
from schemas.strict_json import null_nonfinite
from trainer.checkpoint.resolve import FoundCheckpoint

METHODS = {
    "model": "this model",
    "zero_shot": "zero-shot PLM",
    "popularity": "popularity",
    "recent_clicks": "clicks, last day",
    "recent_rate": "rate, last day",
    "recency": "newest first",
    "category": "category match",
    "oracle": "oracle",
}
METRICS = {"auc": "AUC", "mrr": "MRR", "ndcg5": "nDCG@5", "ndcg10": "nDCG@10"}
_SITES = {".zip": "prediction.txt", ".ebnerd.zip": "predictions.txt"}  # name of the file that each site reads
_LEAST_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest time in a zip: the same predictions give the same bytes


def figures_file(checkpoint: FoundCheckpoint) -> Place:
    """The file for the figures of a checkpoint; InputError if it is no longer in the folder of its run."""
    if checkpoint.run is None:
        raise InputError(
            f"{checkpoint.absolute_name} is outside of the folder of a training run: name a file for its figures, --out"
        )
    return checkpoint.run / "evaluation.json"


def write_and_show(place: Place, summary: dict[str, Any], examples: list[dict[str, Any]] | None) -> None:
    """Write the summary, and next to it the examples if there are any; print the methods and the alarms."""
    with published_with_siblings(place) as path:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, json.dumps(null_nonfinite(summary), indent=1, allow_nan=False))
        if examples is not None:
            _replace(path.with_name("examples.json"), json.dumps(null_nonfinite(examples), indent=1, allow_nan=False))
    _show(summary)


def _show(summary: dict[str, Any]) -> None:
    if summary["methods"]:
        console.print(quality_table(summary))
        console.print(f"  {paired_line(summary)}")
    for sentence in summary["left_out"]:
        console.print(f"  left out: {sentence}", style="dim")
    for sentence in summary["alarms"]:
        console.print(f"  {sentence}", style="yellow")


def quality_table(summary: dict[str, Any]) -> Table:
    """Each method's means, with half the width of their 95% intervals."""
    split = summary["split"]
    days = " to ".join(dict.fromkeys(split[end] for end in ("first", "last")))
    _, inside_a_day, clock = str(split.get("evaluate_from")).partition("T")
    days += f" from {clock} on" if inside_a_day else ""
    title = f"Quality on {summary['impressions']:,} impressions of {days} ({summary['skipped']:,} of one class skipped)"
    if against_drawn(summary):
        title += (
            "\nagainst drawn news: each click is ranked among others of its day, not among what its user was shown, so "
            "these figures are comparable only with each other"
        )
    table = Table("", title=title, title_justify="left")
    for heading in METRICS.values():
        table.add_column(heading, justify="right")
    for name, label in METHODS.items():
        if name in summary["methods"]:
            found = summary["methods"][name]
            table.add_row(label, *(f"{found[m]:.3f} ±{(found['high'][m] - found['low'][m]) / 2:.3f}" for m in METRICS))
    return table


def paired_line(summary: dict[str, Any]) -> str:
    """The model's AUC minus that of the untrained language model, on the same impressions."""
    less = summary["paired"]["zero_shot"]["auc"]
    kind = "AUC against drawn news" if against_drawn(summary) else "AUC"
    return rf"{kind} less zero-shot's: {less['mean']:+.3f} \[{less['low']:+.3f}, {less['high']:+.3f}], paired, 95%"


def against_drawn(summary: dict[str, Any]) -> bool:
    """Whether unclicked news were sampled, because the log does not list what users were shown."""
    return summary.get("negatives") == "drawn"


def _replace(path: Path, text: str) -> None:
    """Replace the file atomically: a page may be reading it."""
    partial = path.with_name(f".{path.name}.incomplete")
    partial.write_text(text + "\n")
    partial.replace(path)


def write_predictions(place: Path | Place, lines: Iterable[str]) -> None:
    """Write a line per impression, and archives of it for the sites of MIND (.zip) and EB-NeRD (.ebnerd.zip)."""
    with published_with_siblings(Place.of(place)) as path:
        _write_predictions(path, lines)


def _write_predictions(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as stream:
        stream.writelines(f"{line}\n" for line in lines)
    for suffix, name in _SITES.items():
        entry = zipfile.ZipInfo(name, _LEAST_TIME)
        entry.compress_type = zipfile.ZIP_DEFLATED
        with (
            path.open("rb") as stream,
            zipfile.ZipFile(path.with_suffix(suffix), "w") as packed,
            packed.open(entry, "w") as inside,
        ):
            shutil.copyfileobj(stream, inside)
