"""The whole loop, raw logs to a judged recommender: every stage in order, then one screen. The main job."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from jobs.build_trajectories import build_trajectories
from jobs.config import run
from jobs.ingest import ingest
from jobs.make_sample import make_sample
from jobs.pack import pack
from jobs.prepare_news import prepare_news
from jobs.progress import console, stage
from jobs.screen import show
from pipelines.session import build_session

PRESETS = Path(__file__).with_name("presets")


def demo(*, data: Path | None = None, out: Path = Path("runs/demo"), size: Size = "demo", seed: int = 1) -> None:
    """Raw logs to a trained recommender, then one screen of what was deduped, encoded once, how fast and how good.

    Parameters
    ----------
    data
        A MIND folder (news.tsv, behaviors.tsv, plain or .gz) or a publisher's (news.jsonl, logs/); without it,
        a synthetic publisher's logs are drawn.
    out
        Folder for everything that is made. A second run goes on with the same tables and trains anew.
    size
        Size of the synthetic publisher: tiny or demo.
    seed
        Seed of the synthetic publisher.
    """
    began = time.perf_counter()
    facts: dict[str, Any] = {"data": str(data) if data else f"synthetic publisher, size {size}, seed {seed}"}
    if data is None:
        data = out / f"sample-{size}-{seed}"
        with stage("synthetic publisher"):
            facts["sample"] = make_sample(out=data, size=size, seed=seed)
    facts.update(_spark_half(data, out))
    facts.update(_torch_half(data, Path(facts["pack"]["out"])))
    facts["seconds"] = time.perf_counter() - began
    (out / "summary.json").write_text(json.dumps(facts, indent=1) + "\n")
    show(facts, out)


def _spark_half(data: Path, out: Path) -> dict[str, Any]:
    """Ingest, news, trajectories and packing, in one Spark session that ends before training begins."""
    lake = out / "lake"
    facts: dict[str, Any] = {}
    with stage("Spark starts"):
        spark = build_session("feedloop demo")
    try:
        with stage("ingest"):
            facts["ingest"] = ingest(logs=data, lake=lake)
        with stage("news text to tokens"):
            facts["news"] = prepare_news(news=data, lake=lake)
        with stage("trajectories"):
            facts["trajectories"] = build_trajectories(lake=lake)
        with stage("packing"):
            version = facts["trajectories"]["table_versions"]["trajectories"]
            facts["pack"] = pack(lake=lake, out=out / f"packed-v{version}")
    finally:
        spark.stop()
    return facts


def _torch_half(data: Path, packed: Path) -> dict[str, Any]:
    """Training, evaluation and speeds, in a process of its own that knows no Spark."""
    truth = data / "truth" / "impressions.parquet"
    preset = "demo" if truth.exists() else "mind_sample"
    options = ["--data", packed, "--out", packed.with_name(packed.name.replace("packed", "run"))]
    options += ["--truth", truth] if truth.exists() else []
    command = [sys.executable, "-m", "jobs.demo_trainer", "--config", PRESETS / f"{preset}.toml", *options]
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        console.print("the training process failed; its message stands above", style="red")
        raise SystemExit(done.returncode)
    return dict(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    raise SystemExit(run(demo))
