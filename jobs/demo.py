"""The entire loop, raw logs to an evaluated recommender: every stage in order, then one screen. The main job."""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path
from typing import Any

from jobs.cli.child import run_child
from jobs.cli.command_line import run
from jobs.cli.demo_screen import show
from jobs.cli.progress import seconds_of_stages, stage
from jobs.demo_spark import demo_spark
from jobs.make_sample import make_sample
from jobs.report import report
from jobs.synthetic.sizes import SizeName
from pipelines.engine.choice import EngineConfig
from schemas.storage.place import Place
from schemas.strict_json import null_nonfinite

_ENGINE = EngineConfig()
PRESETS = Path(__file__).with_name("presets")


def demo(
    *,
    data: Path | None = None,
    out: Path | None = None,
    size: SizeName = "demo",
    seed: int = 1,
    engine: EngineConfig = _ENGINE,
) -> None:
    """Raw logs to a trained recommender, then one screen: what was deduped, encoded once, how fast, how good.

    Parameters
    ----------
    data
        A MIND folder (news.tsv, behaviors.tsv, plain or compressed) or a publisher's (news.jsonl, logs/); default:
        synthetic.
    out
        Folder for all outputs, by default runs/demo or runs/NAME of --data. A second run adds new logs and retrains.
    size
        Size of the synthetic publisher: tiny or demo.
    seed
        Seed of the synthetic publisher.
    engine
        What runs the Spark half: this process alone, or Apache Spark.
    """
    began = time.perf_counter()
    facts: dict[str, Any] = {"data": str(data) if data else f"synthetic publisher, size {size}, seed {seed}"}
    out = out or Path("runs", data.resolve().name if data else "demo")
    if data is None:
        data = out / f"sample-{size}-{seed}"
        with stage("synthetic publisher"):
            facts["sample"] = make_sample(out=data, size=size, seed=seed)
    facts.update(demo_spark(data=data, out=out, engine=engine))
    torch_half = _torch_half(data, out / "lake", Path(facts["pack"]["out"]))
    facts.update({**torch_half, "stages": {**seconds_of_stages, **torch_half["stages"]}})
    facts["seconds"] = time.perf_counter() - began
    (summary := out / "summary.json").write_text(json.dumps(null_nonfinite(facts), indent=1, allow_nan=False) + "\n")
    run_folder = Path(facts["training"]["checkpoint"]).parents[1]
    page = report(run=Place.of(run_folder), summary=Place.of(summary), lake=Place.of(out / "lake"))["page"]
    show(facts, out, page)


def _torch_half(data: Path, lake: Path, packed: Path) -> dict[str, Any]:
    """Training, evaluation and speeds, in a process of its own without Spark."""
    truth = data / "truth" / "impressions.parquet"
    preset = PRESETS / ("demo.toml" if truth.exists() else "mind_sample.toml")
    out = next(run for n in itertools.count(1) if not (run := packed.with_name(f"run-{n}")).exists())
    options: list[object] = ["--config", preset, "--data", packed, "--lake", lake, "--out", out]
    if truth.exists():
        options += ["--truth", truth]
    return run_child("jobs.demo_trainer", options)


if __name__ == "__main__":
    raise SystemExit(run(demo))
