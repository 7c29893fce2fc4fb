"""Impressions of the lake -> trajectories to learn from, and impressions to judge by."""

from __future__ import annotations

from typing import Any

from jobs.config import run
from pipelines.session import build_session, plain_errors
from pipelines.tables import Lake
from pipelines.trajectories.flow import TrajectoryConfig
from pipelines.trajectories.flow import build_trajectories as build
from schemas.trajectory import EVALUATION, TRAJECTORIES


def build_trajectories(
    *,
    lake: str,
    source: str = "publisher",
    evaluate_from: str | None = None,
    window: int = 50,
    candidates: int = 5,
    seed: int = 1,
) -> dict[str, Any]:
    """Cut users' clicks into trajectories, and keep the last impressions for evaluation.

    Parameters
    ----------
    lake
        Folder of the Delta tables.
    source
        Which publisher's impressions.
    evaluate_from
        First UTC date of the evaluation, such as 2019-11-13; by default the last date that has click marks.
    window
        Clicks of a trajectory, at most.
    candidates
        News that a target chooses from: the clicked one, and up to this many less one that were shown beside it.
    seed
        Decides which unclicked news become candidates.
    """
    config = TrajectoryConfig(
        source=source, evaluate_from=evaluate_from, window=window, candidates=candidates, seed=seed
    )
    with plain_errors():
        tables = Lake(build_session("feedloop build_trajectories"), str(lake))
        summary = build(tables, config)
        return summary | {"table_versions": {t.name: tables.version(t) for t in (TRAJECTORIES, EVALUATION)}}


if __name__ == "__main__":
    raise SystemExit(run(build_trajectories))
