"""The Spark half of the demo, in one session: ingest, news, trajectories, packing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jobs.build_trajectories import build_trajectories
from jobs.cli.command_line import run
from jobs.cli.progress import stage
from jobs.ingest import ingest
from jobs.pack import pack
from jobs.prepare_news import prepare_news
from pipelines.engine.choice import EngineConfig, session_for
from pipelines.ingest.batch.audit import check_usable
from pipelines.ingest.config import IngestConfig
from pipelines.ingest.discover.sources import find_logs
from pipelines.lake.tables import Lake
from pipelines.news.readers import news_file
from pipelines.packing.config import PackingConfig
from pipelines.trajectories.config import TrajectoryConfig
from schemas.storage.place import Place

_ENGINE = EngineConfig()


def demo_spark(*, data: Path, out: Path, engine: EngineConfig = _ENGINE) -> dict[str, Any]:
    """Raw logs and news to a packed directory: the Spark half of the demo.

    Parameters
    ----------
    data
        A MIND folder (news.tsv, behaviors.tsv, plain or compressed) or a publisher's (news.jsonl, logs/).
    out
        Folder of the lake and of the packed directories, one for each version of the trajectories.
    engine
        What runs it: this process alone, or Apache Spark.
    """
    find_logs(data, final=True)  # invalid logs or news raise an error before anything is made
    news_file(data)
    lake, source = Place.of(out / "lake"), data.resolve().name
    facts: dict[str, Any] = {}
    with stage("engine starts"):
        spark = session_for("feedloop demo", engine)
    with stage("ingest"):
        complete = IngestConfig(final=True)  # nothing writes to this folder any more
        facts["ingest"] = ingest(engine=engine, logs=Place.of(data), lake=lake, source=source, config=complete)
        check_usable(Lake(spark, lake), source)
    with stage("news text to tokens"):
        facts["news"] = prepare_news(engine=engine, news=Place.of(data), lake=lake, source=source)
    with stage("trajectories"):
        facts["trajectories"] = build_trajectories(engine=engine, lake=lake, config=TrajectoryConfig(source=source))
    with stage("packing"):
        version = facts["trajectories"]["outputs"]["trajectories"]
        packed = out / f"packed-v{version}"
        facts["pack"] = pack(engine=engine, lake=lake, config=PackingConfig(source=source), out=Place.of(packed))
    spark.stop()
    return facts


if __name__ == "__main__":
    raise SystemExit(run(demo_spark))
