"""Benchmark: seconds of complete processes with little new data, as in an hourly run, on each engine."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jobs.bench.log_parts import link_files, remove_folder
from jobs.cli.child import run_child
from jobs.cli.command_line import run
from jobs.cli.progress import stage
from jobs.make_sample import make_sample
from jobs.synthetic.sizes import SizeName
from schemas.errors import InputError

_ENGINES = ("embedded", "spark")
_NEWS = 3  # number of news added later


def small_runs(
    *,
    work: Path = Path("runs/bench-small-runs"),
    size: SizeName = "tiny",
    repeats: int = 3,
    seed: int = 1,
    engines: tuple[str, ...] = _ENGINES,
) -> dict[str, Any]:
    """Measure a first small ingest, one more file, nothing new, three more news, nothing changed, and maintain.

    Parameters
    ----------
    work
        Folder for the sample and the lakes.
    size
        Size of the synthetic publisher.
    repeats
        Measurements of each, with alternating engines; medians are reported.
    seed
        Seed of the synthetic publisher.
    engines
        Engines to measure: embedded, spark.
    """
    if repeats < 1:
        raise InputError(f"--repeats is {repeats}: use 1 or more")
    with stage("logs of the publisher"):
        make_sample(out=work / "sample", size=size, seed=seed)
    found: dict[str, dict[str, list[float]]] = {engine: {} for engine in engines}
    for _ in range(repeats):
        for engine in engines:
            for name, seconds in _round(work, engine):
                found[engine].setdefault(name, []).append(round(seconds, 2))
    medians = {engine: {n: statistics.median(every) for n, every in runs.items()} for engine, runs in found.items()}
    return {"seconds": medians, "every": found}


def _round(work: Path, engine: str) -> Iterator[tuple[str, float]]:
    """Time each run on a new lake, in order."""
    lake, sample = work / "lake", work / "sample"
    remove_folder(lake)
    files = sorted((sample / "logs").glob("*.jsonl"))
    news = _fewer_news(sample / "news.jsonl", work / "news")
    ingest: list[object] = ["jobs.ingest", "--lake", lake, "--engine", engine, "--logs"]
    prepare: list[object] = ["jobs.prepare_news", "--lake", lake, "--engine", engine, "--news"]
    some = link_files(files[:-1], work / "logs")
    yield _timed(engine, "first small ingest", [*ingest, some])
    more = link_files(files, work / "logs")
    yield _timed(engine, "one more file", [*ingest, more])
    yield _timed(engine, "nothing new", [*ingest, more])
    yield _timed(engine, "first news", [*prepare, news])
    yield _timed(engine, "three more news", [*prepare, sample])
    yield _timed(engine, "nothing changed", [*prepare, sample])
    yield _timed(engine, "maintain", ["jobs.maintain", "--lake", lake, "--engine", engine])


def _fewer_news(news: Path, folder: Path) -> Path:
    """A folder with a copy of the news file without its last news."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / news.name).write_text("".join(news.read_text().splitlines(keepends=True)[:-_NEWS]))
    return folder


def _timed(engine: str, name: str, command: list[object]) -> tuple[str, float]:
    module, *options = command
    began = time.perf_counter()
    with stage(f"{engine}: {name}"):
        run_child(str(module), options)
    return name, time.perf_counter() - began


if __name__ == "__main__":
    raise SystemExit(run(small_runs))
