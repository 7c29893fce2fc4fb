"""Benchmark: ingest time per line as the table grows, on each engine and in DuckDB; bytes of stored histories."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from jobs.bench.children import Measured, time_job
from jobs.bench.log_parts import Part, copy_lake, cut_logs, remove_folder
from jobs.cli.command_line import run
from jobs.cli.progress import stage
from jobs.make_sample import make_sample
from pipelines.engine.embedded import embedded_session
from pipelines.history_bytes import history_bytes
from pipelines.lake.tables import Lake
from schemas.errors import ContractError, InputError

LINES_PER_IMPRESSION = 1.16  # of the synthetic publisher, about
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
    """Measure ingest at three sizes, adding to a small and a large table, DuckDB, and the bytes of histories.

    Every measurement is a separate process, as ./feedloop ingest is, and engines alternate. The start of an engine is
    measured separately and subtracted. Repeated measurements report their median.

    Parameters
    ----------
    work
        Folder for logs and lakes, about 3 KB per line; existing logs are reused.
    lines
        Lines of the largest table. The middle one has a fifth of them, the small one and the added part a fiftieth.
    repeats
        Measurements of each ingest, except the largest.
    seed
        Seed of the synthetic publisher.
    engines
        Engines to measure: embedded, spark.
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
    """All figures measured in seconds; `logs` are the small, the middle and the large ones."""
    small, middle, large = logs
    rival = partial(_time_rival, work, repeats)
    start = {engine: rival(f"start_{engine}", 0.0) for engine in engines}
    runs: dict[str, dict[str, Measured]] = {engine: {} for engine in engines}
    adding: dict[str, dict[str, Measured]] = {engine: {} for engine in engines}
    for name, folder in logs.items():
        for engine in engines:
            lake, often = work / "lakes" / engine / name, 1 if name == large else repeats
            runs[engine][name] = _time_ingest(engine, folder, lake, repeats=often, start=start[engine].seconds)
    for name in (small, large):
        for engine in engines:
            lakes, ready = work / "lakes" / engine, start[engine].seconds
            copy = lakes / "copy"
            adding[engine][name] = _time_ingest(
                engine, added.folder, copy, base=lakes / name, repeats=repeats, start=ready
            )
    duckdb = rival("duckdb", 0.0)
    found = {}
    for engine in engines:
        _check(runs[engine][middle].summary, duckdb.summary, truth)
        costs = _growth(runs[engine], adding[engine], added.lines)
        found[engine] = {"start_seconds": start[engine].every, **costs, **_compare_with(runs[engine][middle], duckdb)}
    return {
        "lines_per_second_vs_duckdb": {engine: figures["speed_to_duckdb"] for engine, figures in found.items()},
        "engines": found,
        **{name: runs[engines[0]][large].summary[name] for name in _COUNTS},
    }


def _sample(folder: Path, lines: int, seed: int) -> dict[str, Any]:
    impressions = round(lines / LINES_PER_IMPRESSION)
    return make_sample(out=folder, size="million", seed=seed, impressions=impressions, logs_only=True)


def _time_ingest(
    engine: str, logs: Path, lake: Path, *, base: Path | None = None, repeats: int = 1, start: float = 0.0
) -> Measured:
    """Ingest into a new lake, or into a copy of `base`."""
    before = partial(remove_folder, lake) if base is None else partial(copy_lake, base, lake)
    words = f"{engine}: ingest {lake.name}" if base is None else f"{engine}: add to {base.name}"
    options = ["--logs", logs, "--lake", lake, "--engine", engine]
    return time_job(words, "jobs.ingest", options, before, repeats=repeats, start=start)


def _time_rival(work: Path, repeats: int, rival: str, start: float) -> Measured:
    out = work / "rival"
    options = ["--logs", work / "middle", "--out", out, "--rival", rival]
    return time_job(rival, "jobs.bench.rivals", options, partial(remove_folder, out), repeats=repeats, start=start)


def _growth(runs: dict[str, Measured], adding: dict[str, Measured], added_lines: int) -> dict[str, Any]:
    """Seconds per million lines, and two ratios that show whether a line costs more in a larger table."""
    per_million = {name: found.seconds / found.summary["lines"] * 1e6 for name, found in runs.items()}
    small, middle, large = runs
    return {
        "seconds_per_million": {name: round(seconds, 2) for name, seconds in per_million.items()},
        "large_to_middle": round(per_million[large] / per_million[middle], 3),
        "seconds_adding": {name: found.every for name, found in adding.items()},
        "lines_added": added_lines,
        "adding_to_large_to_small": round(adding[large].seconds / adding[small].seconds, 3),
    }


def _compare_with(ours: Measured, duckdb: Measured) -> dict[str, Any]:
    """Lines per second of both on the same logs."""
    both, lines = {"ingest": ours, "duckdb": duckdb}, ours.summary["lines"]
    speeds = {name: round(lines / found.seconds) for name, found in both.items()}
    every = {name: found.every for name, found in both.items()}
    ratio = round(speeds["ingest"] / speeds["duckdb"], 3)
    return {"lines_per_second": speeds, "speed_to_duckdb": ratio, "seconds_on_the_same_logs": every}


def _check(ours: dict[str, Any], duckdb: dict[str, Any], truth: dict[str, Any]) -> None:
    """ContractError unless all find the same impressions: otherwise speeds do not compare.

    DuckDB may find some more, because it accepts lines with a repeated field.
    """
    for name in _COUNTS:
        if ours[name] != truth[name]:
            raise ContractError(f"ingest finds {ours[name]} {name}, the publisher's truth is {truth[name]}")
    unseen = truth["rejected_by_reason"].get("duplicate_field", 0)
    if not 0 <= duckdb["impressions"] - truth["impressions"] <= unseen:
        raise ContractError(f"DuckDB finds {duckdb['impressions']} impressions, the truth is {truth['impressions']}")


def _histories(work: Path, lake: Path, ebnerd: Path | None) -> dict[str, Any]:
    """Bytes of the publisher's histories, and of EB-NeRD's if given: then `history_ratio` is EB-NeRD's."""
    lakes = {"publisher": lake}
    if ebnerd is not None:
        lakes["ebnerd"] = work / "lakes/ebnerd"
        _time_ingest("embedded", ebnerd, lakes["ebnerd"])
    with stage("bytes of histories"):
        session = embedded_session()
        found = {name: history_bytes(Lake(session, str(where))) for name, where in lakes.items()}
    return {"histories": found, "history_ratio": list(found.values())[-1]["history_ratio"]}


def _short(lines: int) -> str:
    """For example 5m, 100k or 400."""
    for unit, letter in ((1_000_000, "m"), (1_000, "k")):
        if lines % unit == 0:
            return f"{lines // unit}{letter}"
    return str(lines)


if __name__ == "__main__":
    raise SystemExit(run(ingest))
