"""Reads all figures for the page from the files of a run, and lists the missing ones."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jobs.page.about import read_about, this_machine
from jobs.page.contracts import Config, Evaluation, Example, Figures, Line, Method, Options
from jobs.page.lake import ingest_counts, news_counts
from jobs.page.reading import SUMMARY, check, json_file, lines_file, name_exists
from jobs.page.summary_contract import Summary
from schemas.errors import InputError
from schemas.manifest import Manifest
from schemas.storage.place import Place
from schemas.token_table import file_of
from trainer.data.cache import CacheConfig
from trainer.data.description import describe
from trainer.data.directory import Packed, PackedDirectory, has_manifest, read_manifest

EVALUATION_FILE, EXAMPLES_FILE = "evaluation.json", "examples.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Locations of the run and its inputs; None: not given."""

    run: Path
    named: Place | None = None
    """the run's original place, if `run` is a local copy"""
    summary: Path | None = None
    lake: Path | Place | None = None
    data: Place | None = None
    cache: CacheConfig = field(default_factory=CacheConfig)

    @property
    def shown_place(self) -> Place:
        """The run's folder as the page shows it."""
        return self.named or Place(str(self.run))

    def holds(self, checkpoint: str) -> bool:
        """Whether a checkpoint belongs to the run."""
        if not self.shown_place.is_local:
            return checkpoint.startswith(f"{self.shown_place}/")
        return self.run.resolve() in Path(checkpoint).resolve().parents


class Lacking(NamedTuple):
    """A missing part of the page, with the commands that add it or the reason why it is unavailable."""

    what: str
    commands: tuple[str, ...] = ()
    reason: str = ""


@dataclass(slots=True, kw_only=True)
class Facts:
    """A run's figures. `parts` are as in the demo's summary: ingest, news, pack, batches, training, speed, ..."""

    places: Places
    parts: dict[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    """the lines of metrics.jsonl"""
    evaluation: Mapping[str, Any] | None = None
    examples: list[dict[str, Any]] = field(default_factory=list)
    manifest: Manifest | None = None
    manifest_sha256: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)
    about_is_local: bool = False
    """whether `about` describes this machine, because the run has no about.json"""
    lacking: list[Lacking] = field(default_factory=list)

    @property
    def source(self) -> str:
        """The publisher of the logs; empty if unknown."""
        return str(self.manifest.config.get("source", "")) if self.manifest else ""

    @property
    def policy(self) -> str:
        """The run's encoding policy."""
        return str(self.config.get("planner", {}).get("policy", ""))

    @property
    def report_command(self) -> str:
        """The command that writes this page report_command."""
        return f"./feedloop report --run {_quoted(self.places.shown_place)}"


def read_facts(places: Places, *, read_batches: bool) -> Facts:
    """Read all facts at these places. `read_batches`: also read all packed batches if no summary describes them.

    InputError if `places.run` is no training run, or a file of it cannot be read.
    """
    run = places.run
    if not name_exists(run / "config.json"):
        raise InputError(f"--run {run}: no config.json, so it is no training run. Name the --out of ./feedloop train")
    metrics = run / "metrics.jsonl"
    about = read_about(run)
    facts = Facts(
        places=places,
        config=json_file(run / "config.json", Options, Config),
        metrics=lines_file(metrics, Line, Figures) if name_exists(metrics) else [],
        about=about or this_machine(),
        about_is_local=not about,
        parts=_summary(places),
    )
    facts.parts["stages"] = facts.parts.get("stages") or about.get("stages", {})
    _add_evaluation(facts)
    _add_packed(facts, read_batches=read_batches)
    _add_lake(facts)
    _add_training(facts)
    return facts


def ages(facts: Facts) -> list[int]:
    """Entry n: number of vectors of the entire run that were n steps old when looked up."""
    lists = [line.get("looked_up_by_age") or [] for line in facts.metrics]
    summed = np.zeros(max(map(len, lists), default=0), np.int64)
    for one in lists:
        summed[: len(one)] += np.array(one, np.int64)
    return [int(count) for count in summed]


def _summary(places: Places) -> dict[str, Any]:
    """The demo's summary: the given file, or one next to the run if that describes this run."""
    next_to_run = places.run.parent / SUMMARY
    if places.summary is not None:
        return _read_summary(places.summary)
    found = _read_summary(next_to_run) if name_exists(next_to_run) else {}
    return found if places.holds(str(found.get("training", {}).get("checkpoint", ""))) else {}


def _read_summary(summary: Path) -> dict[str, Any]:
    found: dict[str, Any] = json_file(summary, Summary)
    quality = found.get("quality") or {}
    check(quality, f"{summary}, its quality", Evaluation if "methods" in quality else dict[str, Method])
    return {name: part for name, part in found.items() if part is not None}


def _add_evaluation(facts: Facts) -> None:
    run = facts.places.run
    checkpoint = _quoted(facts.places.shown_place / "checkpoint")
    evaluate = (f"./feedloop evaluate --checkpoint {checkpoint} --data PACKED --lake LAKE", facts.report_command)
    if name_exists(run / EVALUATION_FILE):
        facts.evaluation = json_file(run / EVALUATION_FILE, Evaluation)
    else:
        lacking = "intervals" if "quality" in facts.parts else "figures"
        facts.lacking.append(Lacking(f"{lacking} and slices of the model's quality", evaluate))
    if name_exists(run / EXAMPLES_FILE):
        facts.examples = json_file(run / EXAMPLES_FILE, list[Example])
    if not facts.examples:
        facts.lacking.append(Lacking("example users", evaluate))


def _add_packed(facts: Facts, *, read_batches: bool) -> None:
    """Add the manifest and the quality of its batches."""
    known = (facts.about.get("data"), facts.parts.get("pack", {}).get("out"), (facts.evaluation or {}).get("data"))
    given = facts.places.data
    places = [Place.of(given)] if given else [Place.of(str(place)) for place in known if place]
    data = next((place for place in places if (has_manifest if given else _may_have_manifest)(place)), None)
    if data is None:
        if not all(facts.parts.get("pack", {}).get(name) for name in ("trajectories", "clicks", "targets")):
            facts.parts.pop("pack", None)
        facts.lacking.append(Lacking("the packed data", (f"{facts.report_command} --data PACKED",)))
        return
    facts.manifest, facts.manifest_sha256 = read_manifest(data)
    blocks = [block for _, _, block in facts.manifest.superblocks]
    summed = {
        "batches": sum(len(block.batches) for block in blocks),
        "trajectories": sum(block.trajectories for block in blocks),
        "targets": sum(sum(block.targets) for block in blocks),
        "distinct_items_per_epoch": sum(sum(block.items) for block in blocks),
    }
    facts.parts["pack"] = {**summed, **facts.manifest.counts, "out": str(data)}
    if "batches" in facts.parts:
        return
    if read_batches:
        facts.parts["batches"] = describe(PackedDirectory.open(Packed.of(data, facts.places.cache))).summary
    else:
        commands = (f"{facts.report_command} --data {_quoted(data)}",)
        facts.lacking.append(Lacking("random order, padding and reuse, which are computed from all batches", commands))


def _add_lake(facts: Facts) -> None:
    """Add counts of the entire lake if the summary has none, or describes a run without new data."""
    wanted: dict[str, tuple[Callable[[Facts, Path | Place], dict[str, Any]], str, str]] = {
        "ingest": (_ingest, "lines", "counts of the logs"),
        "news": (_news, "full_tokens", "counts of the news"),
    }
    for part, (read, figure, what) in wanted.items():
        if facts.parts.get(part, {}).get(figure):
            continue
        facts.parts.pop(part, None)
        if facts.places.lake is None or facts.manifest is None:
            facts.lacking.append(Lacking(what, (f"{facts.report_command} --lake LAKE",)))
            continue
        try:
            facts.parts[part] = read(facts, facts.places.lake)
        except InputError as error:  # delta-rs does not read every feature that a lake may use
            facts.lacking.append(Lacking(what, reason=str(error)))


def _ingest(facts: Facts, lake: Path | Place) -> dict[str, Any]:
    return ingest_counts(lake, facts.source)


def _news(facts: Facts, lake: Path | Place) -> dict[str, Any]:
    assert facts.manifest is not None, "checked by _add_lake"
    found = news_counts(lake, facts.manifest)
    if len(facts.manifest.config.get("news", {}).get("sources", {})) == 1:  # the token table holds all sources' items
        found["tokens"] = sum(e.rows for e in facts.manifest.files if e.path == file_of("token_values"))
    return found


def _add_training(facts: Facts) -> None:
    """Add the run's totals from metrics.jsonl, if no summary has them."""
    if "training" in facts.parts or not facts.metrics:
        return
    spent = ("seconds", "data_wait_seconds", "evaluating_seconds", "saving_seconds")
    names = ("targets", "asked", "encoded", "looked_up", *spent)
    sums = {name: sum(line.get(name) or 0 for line in facts.metrics) for name in names}
    last = facts.metrics[-1]
    variants = facts.manifest.counts.get("variants", 1) if facts.manifest else 1
    facts.parts["training"] = {
        **sums,
        "steps": last["step"],
        "loss": last["loss"],
        "epochs": sums["targets"] * variants / facts.parts["pack"]["targets"] if facts.manifest else 0,
        "complete": last["step"] == last["steps"],
        "clicks_per_second": sums["targets"] / sums["seconds"] if sums["seconds"] else 0.0,
    }


def _may_have_manifest(place: Place) -> bool:
    """Like `has_manifest`, but False for a store that does not answer."""
    try:
        return has_manifest(place)
    except InputError:
        return False


def _quoted(path: Path | Place) -> str:
    return shlex.quote(str(path))
