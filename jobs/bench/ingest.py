"""Benchmark: what a line costs ingest as the table grows, on each engine and in DuckDB; how small histories get."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from jobs.bench.children import Measured, measured
from jobs.bench.log_parts import Part, copied_lake, cut_logs, removed
from jobs.cli.command_line import run
from jobs.cli.progress import stage
from jobs.make_sample import make_sample
from pipelines.engine.embedded import embedded_session
from pipelines.history_bytes import history_bytes
from pipelines.lake.tables import Lake
from schemas.errors import ContractError, InputError

LINES_PER_IMPRESSION = 1.16  # of the publisher, about
_COUNTS = ("lines", "impressions", "merged", "rejected")


def ingest(
    *,
    work: Path = Path("runs/bench-ingest"),
    lines: int = 5_000_000,
    repeats: int = 3,
    seed: int = 1,
    engines: tuple[str, ...] = ("embedded", "spark"),
    ebnerd: Path | None = None,
) -> dict[str, Any]:
    """Seconds per million lines at three sizes, adding to a small and a large table, rivals, bytes of histories.

    Every measurement is a process of its own, as ./feedloop ingest is, the engines in turns; the seconds that an engine
    takes to start are measured apart and taken off. Repeated measurements report their median.

    Parameters
    ----------
    work
        Folder for logs and lakes, some 3 KB a line; logs that are there are used again.
    lines
        Of the largest table. The middle one has a fifth of them; the small one, and what is added, a fiftieth.
    repeats
        How often all but the largest ingest is measured.
    seed
        Seed of the synthetic publisher.
    engines
        Which engines: embedded, spark.
    ebnerd
        An EB-NeRD folder (behaviors.parquet, history.parquet), for the bytes of its histories.
    """
    if lines < 5_000 or repeats < 1:
        raise InputError(f"--lines is {lines} and --repeats {repeats}: use at least 5000 and 1")
    small, middle = lines // 50, lines // 5
    with stage("logs of the publisher"):
        truth = _sample(work / "middle", middle, seed)
        _sample(work / "large", lines + small, seed)
        parts = cut_logs(work / "large", work / "parts", small=small, added=small)
    names = _short(small), _short(middle), _short(lines)
    folders = dict(zip(names, (parts.small.folder, work / "middle", parts.large.folder), strict=True))
    figures = _figures(work, folders, parts.added, repeats=repeats, truth=truth, engines=engines)
    return figures | _histories(work, work / "lakes" / engines[0] / _short(middle), ebnerd)


def _figures(
    work: Path, logs: dict[str, Path], added: Part, *, repeats: int, truth: dict[str, Any], engines: tuple[str, ...]
) -> dict[str, Any]:
    """All that is measured in seconds; `logs` are the small, the middle and the large ones."""
    small, middle, large = logs
    rival = partial(_rival, work, repeats)
    start = {engine: rival(f"start_{engine}", 0.0) for engine in engines}
    runs: dict[str, dict[str, Measured]] = {engine: {} for engine in engines}
    adding: dict[str, dict[str, Measured]] = {engine: {} for engine in engines}
    for name, folder in logs.items():
        for engine in engines:
            lake, often = work / "lakes" / engine / name, 1 if name == large else repeats
            runs[engine][name] = _ingested(engine, folder, lake, repeats=often, start=start[engine].seconds)
    for name in (small, large):
        for engine in engines:
            lakes, ready = work / "lakes" / engine, start[engine].seconds
            copy = lakes / "copy"
            adding[engine][name] = _ingested(
                engine, added.folder, copy, base=lakes / name, repeats=repeats, start=ready
            )
    duckdb = rival("duckdb", 0.0)
    found = {}
    for engine in engines:
        _check(runs[engine][middle].summary, duckdb.summary, truth)
        costs = _costs(runs[engine], adding[engine], added.lines)
        found[engine] = {"start_seconds": start[engine].every, **costs, **_compared_with(runs[engine][middle], duckdb)}
    return {
        "lines_per_second_vs_duckdb": {engine: figures["speed_to_duckdb"] for engine, figures in found.items()},
        "engines": found,
        **{name: runs[engines[0]][large].summary[name] for name in _COUNTS},
    }


def _sample(folder: Path, lines: int, seed: int) -> dict[str, Any]:
    impressions = round(lines / LINES_PER_IMPRESSION)
    return make_sample(out=folder, size="million", seed=seed, impressions=impressions, logs_only=True)


def _ingested(
    engine: str, logs: Path, lake: Path, *, base: Path | None = None, repeats: int = 1, start: float = 0.0
) -> Measured:
    """Ingest into a new lake, or into a copy of `base`."""
    before = partial(removed, lake) if base is None else partial(copied_lake, base, lake)
    words = f"{engine}: ingest {lake.name}" if base is None else f"{engine}: add to {base.name}"
    options = ["--logs", logs, "--lake", lake, "--engine", engine]
    return measured(words, "jobs.ingest", options, before, repeats=repeats, start=start)


def _rival(work: Path, repeats: int, rival: str, start: float) -> Measured:
    out = work / "rival"
    options = ["--logs", work / "middle", "--out", out, "--rival", rival]
    return measured(rival, "jobs.bench.rivals", options, partial(removed, out), repeats=repeats, start=start)


def _costs(runs: dict[str, Measured], adding: dict[str, Measured], added_lines: int) -> dict[str, Any]:
    """Seconds per million lines, and the two ratios that say whether a line costs more where there are more of them."""
    per_million = {name: found.seconds / found.summary["lines"] * 1e6 for name, found in runs.items()}
    small, middle, large = runs
    return {
        "seconds_per_million": {name: round(seconds, 2) for name, seconds in per_million.items()},
        "large_to_middle": round(per_million[large] / per_million[middle], 3),
        "seconds_adding": {name: found.every for name, found in adding.items()},
        "lines_added": added_lines,
        "adding_to_large_to_small": round(adding[large].seconds / adding[small].seconds, 3),
    }


def _compared_with(ours: Measured, duckdb: Measured) -> dict[str, Any]:
    """Lines a second of both on the same logs."""
    both, lines = {"ingest": ours, "duckdb": duckdb}, ours.summary["lines"]
    speeds = {name: round(lines / found.seconds) for name, found in both.items()}
    every = {name: found.every for name, found in both.items()}
    ratio = round(speeds["ingest"] / speeds["duckdb"], 3)
    return {"lines_per_second": speeds, "speed_to_duckdb": ratio, "seconds_on_the_same_logs": every}


def _check(ours: dict[str, Any], duckdb: dict[str, Any], truth: dict[str, Any]) -> None:
    """Speed counts only where all come to the same impressions.

    DuckDB may have some more: it does not see that a field stands twice, and so takes such lines for good.
    """
    for name in _COUNTS:
        if ours[name] != truth[name]:
            raise ContractError(f"ingest finds {ours[name]} {name}, the publisher's truth is {truth[name]}")
    unseen = truth["rejected_by_reason"].get("duplicate_field", 0)
    if not 0 <= duckdb["impressions"] - truth["impressions"] <= unseen:
        raise ContractError(f"DuckDB finds {duckdb['impressions']} impressions, the truth is {truth['impressions']}")


def _histories(work: Path, lake: Path, ebnerd: Path | None) -> dict[str, Any]:
    """Bytes of the publisher's histories, and of EB-NeRD's where that is given: its ratio is then the one to quote."""
    lakes = {"publisher": lake}
    if ebnerd is not None:
        lakes["ebnerd"] = work / "lakes/ebnerd"
        _ingested("embedded", ebnerd, lakes["ebnerd"])
    with stage("bytes of histories"):
        session = embedded_session()
        found = {name: history_bytes(Lake(session, str(where))) for name, where in lakes.items()}
    return {"histories": found, "history_ratio": list(found.values())[-1]["history_ratio"]}


def _short(lines: int) -> str:
    """5m, 100k or 400."""
    for unit, letter in ((1_000_000, "m"), (1_000, "k")):
        if lines % unit == 0:
            return f"{lines // unit}{letter}"
    return str(lines)


if __name__ == "__main__":
    raise SystemExit(run(ingest))
