"""Impressions of the lake -> trajectories for training, and impressions for evaluation."""

from __future__ import annotations

from typing import Any

from jobs.cli.command_line import run
from pipelines.engine.choice import EngineConfig, session_for
from pipelines.lake.opening import open_lake
from pipelines.session import plain_errors
from pipelines.trajectories.config import TrajectoryConfig
from pipelines.trajectories.flow import build_trajectories as build
from schemas.storage.place import Place


def build_trajectories(
    *,
    lake: Place,
    engine: EngineConfig = EngineConfig(),  # noqa: B008 - frozen
    config: TrajectoryConfig = TrajectoryConfig(),  # noqa: B008 - frozen
    as_of: str | None = None,
) -> dict[str, Any]:
    """Cut users' clicks into trajectories, and keep the last impressions for evaluation.

    Parameters
    ----------
    lake
        Folder of the Delta tables.
    engine
        What runs the job: this process alone, or Apache Spark.
    config
        What decides the trajectories, in addition to the data.
    as_of
        Read the tables as they were: a file of versions that a job wrote below the lake, or a time such as
        2026-03-02T09:00:00Z.
    """
    with plain_errors():
        tables = open_lake(session_for("feedloop build_trajectories", engine), lake)
        read_from = None if as_of is None else tables.as_of(tables.versions_from(as_of))
        made = build(tables, config, read_from=read_from)
        return made.summary | tables.report("build_trajectories", inputs=made.inputs, outputs=made.outputs)


if __name__ == "__main__":
    raise SystemExit(run(build_trajectories))
