"""Trajectories: labelled impressions -> TRAJECTORIES before the split, EVALUATION from it on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipelines.tables import Lake, literal
from pipelines.trajectories.candidates import with_clicks, with_events
from pipelines.trajectories.resolve import HISTORY, SHOWN, found_in, with_known_news
from pipelines.trajectories.split import labelled_of, split_date, with_split
from pipelines.trajectories.windows import per_window
from schemas.errors import InputError
from schemas.impression import HISTORIES, IMPRESSIONS
from schemas.news import ITEM_TOKENS
from schemas.trajectory import EVALUATION, TRAJECTORIES

_LONGEST_WINDOW = 100
_INPUTS = (IMPRESSIONS, HISTORIES, ITEM_TOKENS)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrajectoryConfig:
    """What decides the trajectories, beside the data."""

    source: str = "publisher"
    evaluate_from: str | None = None  # UTC date; by default the last with labelled impressions
    window: int = 50  # clicks of a trajectory, at most
    candidates: int = 5  # K: the clicked news and at most K - 1 others
    seed: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.window <= _LONGEST_WINDOW:
            raise InputError(f"window is {self.window}: use 1 to {_LONGEST_WINDOW} clicks")
        if self.candidates < 2:
            raise InputError(f"candidates is {self.candidates}: use 2 or more, the clicked news counts as one")
        if not -(2**63) <= self.seed < 2**63:
            raise InputError(f"seed is {self.seed}: use a whole number of 64 bits")


def build_trajectories(lake: Lake, config: TrajectoryConfig) -> dict[str, Any]:
    """Write both tables for the source and return the counts; what the same inputs and config made is left as it is."""
    inputs = {table.name: lake.version(table) for table in _INPUTS}
    made = _made_before(lake, config)
    if made is not None and made["inputs"] == inputs:
        return dict(made["summary"])

    impressions, histories, items = (lake.read(table, version=inputs[table.name]) for table in _INPUTS)
    labelled = labelled_of(impressions, config.source)
    evaluate_from = split_date(labelled, asked=config.evaluate_from, source=config.source)
    found = (
        labelled.transform(with_split, histories, evaluate_from=evaluate_from)
        .transform(with_known_news, items.where(F.col("source") == config.source))
        .transform(with_clicks)
        .persist()
    )
    summary = {"evaluate_from": str(evaluate_from)} | _checked_counts(found, str(evaluate_from), config.source)

    ours = f"source = {literal(config.source)}"
    if lake.exists(EVALUATION):  # until both tables are written, nobody may take them for a pair
        lake.note(EVALUATION, f"made_from.{config.source}", json.dumps({"unfinished": True}))
    lake.overwrite(TRAJECTORIES, found.transform(trajectories, config), where=ours)
    lake.overwrite(EVALUATION, found.transform(evaluation), where=ours)
    found.unpersist()
    summary |= _written(lake.read(TRAJECTORIES).where(ours))
    _note(lake, config, {"inputs": inputs, "summary": summary})
    return summary


def trajectories(found: DataFrame, config: TrajectoryConfig) -> DataFrame:
    """One row per user window of the impressions before the split."""
    return (
        found.where("NOT evaluated")
        .transform(with_events, candidates=config.candidates, seed=config.seed)
        .transform(per_window, window=config.window)
    )


def evaluation(found: DataFrame) -> DataFrame:
    """One row per impression from the split on that shows known news."""
    shown = found.where("evaluated").withColumn("_shown", found_in(SHOWN)).where("size(_shown) > 0")
    return shown.select(
        "source",
        "impression_id",
        "user_id",
        "time",
        F.transform(found_in(HISTORY), lambda news: news["canonical_row"]).alias("history_row"),
        F.transform("_shown", lambda news: news["canonical_row"]).alias("shown_row"),
        F.transform("_shown", lambda news: news["news_id"]).alias("shown_id"),
        F.transform("_shown", lambda news: news["clicked"]).alias("clicked"),
    )


def _checked_counts(found: DataFrame, evaluate_from: str, source: str) -> dict[str, int]:
    """InputError, before anything is written, if one side of the split would be empty."""
    trains = ~F.col("evaluated") & (F.size("clicks") > 0) & (F.size("negatives") > 0)
    counts = found.agg(
        F.count_if(trains).alias("training"),
        F.count_if(F.col("evaluated") & (F.size(found_in(SHOWN)) > 0)).alias("evaluation"),
        F.coalesce(F.sum("unknown"), F.lit(0)).alias("unknown"),
    ).collect()[0]
    unknown = f"{counts['unknown']} news ids in these impressions stand in no news file of the source"
    if not counts["training"]:
        raise InputError(
            f"source {source!r}: no impression before {evaluate_from} has a click beside unclicked news ({unknown}). "
            "Ingest logs of at least two dates, prepare the news they show, or set a later --evaluate-from"
        )
    if not counts["evaluation"]:
        raise InputError(
            f"source {source!r}: no impression with click marks on or after {evaluate_from} ({unknown}). "
            "Set an earlier --evaluate-from, or leave it out"
        )
    return {"unknown_news": counts["unknown"], "evaluation_impressions": counts["evaluation"]}


def _written(table: DataFrame) -> dict[str, int]:
    targets = F.size(F.filter("weight", lambda weight: weight > 0))
    counts = table.agg(
        F.count("*").alias("trajectories"),
        F.count_distinct("user_id").alias("users"),
        F.sum(F.size("click_row")).alias("clicks"),
        F.sum(targets).alias("targets"),
    )
    return counts.collect()[0].asDict()


def _made_before(lake: Lake, config: TrajectoryConfig) -> dict[str, Any] | None:
    """The note of the run that wrote both tables last, if it was for this config and nobody wrote since."""
    if not (lake.exists(TRAJECTORIES) and lake.exists(EVALUATION)):
        return None
    made: dict[str, Any] = json.loads(lake.notes(EVALUATION).get(f"made_from.{config.source}", "{}"))
    written = [lake.version(TRAJECTORIES), lake.version(EVALUATION) - 1]  # the note itself is a version
    return made if made.get("config") == asdict(config) and made.get("written") == written else None


def _note(lake: Lake, config: TrajectoryConfig, made: dict[str, Any]) -> None:
    written = [lake.version(TRAJECTORIES), lake.version(EVALUATION)]
    note = made | {"config": asdict(config), "written": written}
    lake.note(EVALUATION, f"made_from.{config.source}", json.dumps(note, sort_keys=True))
