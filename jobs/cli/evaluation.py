"""What evaluate tells and leaves: a table of the methods, alarms, and its files."""

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
from schemas.storage.copies import published_beside
from schemas.storage.place import Place
from schemas.strict_json import finite
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
_SITES = {".zip": "prediction.txt", ".ebnerd.zip": "predictions.txt"}  # what the file is called that each site reads
_LEAST_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can tell: the same predictions are the same bytes


def figures_file(checkpoint: FoundCheckpoint) -> Place:
    """Where the figures of a checkpoint belong; InputError if it no longer stands in the folder of its run."""
    if checkpoint.run is None:
        raise InputError(
            f"{checkpoint.absolute_name} stands outside of the folder of a training run: name a file for its figures, "
            "--out"
        )
    return checkpoint.run / "evaluation.json"


def write_and_show(place: Place, summary: dict[str, Any], examples: list[dict[str, Any]] | None) -> None:
    """Leave the summary, and beside it the examples where there are some; print the methods and what is doubtful."""
    with published_beside(place) as path:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, json.dumps(finite(summary), indent=1, allow_nan=False))
        if examples is not None:
            _replace(path.with_name("examples.json"), json.dumps(finite(examples), indent=1, allow_nan=False))
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
    """Each method's means, and how far their 95% intervals reach."""
    split = summary["split"]
    days = " to ".join(dict.fromkeys(split[end] for end in ("first", "last")))
    _, inside_a_day, clock = str(split.get("evaluate_from")).partition("T")
    days += f" from {clock} on" if inside_a_day else ""
    title = f"Quality on {summary['impressions']:,} impressions of {days} ({summary['skipped']:,} of one class skipped)"
    if against_drawn(summary):
        title += (
            "\nagainst drawn news: each click is ranked among others of its day, not among what its user was shown, so "
            "these figures compare with each other alone"
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
    """The model less the untrained language model, on the same impressions."""
    less = summary["paired"]["zero_shot"]["auc"]
    kind = "AUC against drawn news" if against_drawn(summary) else "AUC"
    return rf"{kind} less zero-shot's: {less['mean']:+.3f} \[{less['low']:+.3f}, {less['high']:+.3f}], paired, 95%"


def against_drawn(summary: dict[str, Any]) -> bool:
    """Whether what users did not click was drawn, for want of a log that tells what they were shown."""
    return summary.get("negatives") == "drawn"


def _replace(path: Path, text: str) -> None:
    """Complete or as before: a page may be reading it."""
    partial = path.with_name(f".{path.name}.incomplete")
    partial.write_text(text + "\n")
    partial.replace(path)


def write_predictions(place: Path | Place, lines: Iterable[str]) -> None:
    """A line an impression, and beside it the archives that MIND's site takes (.zip) and EB-NeRD's (.ebnerd.zip)."""
    with published_beside(Place.of(place)) as path:
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
