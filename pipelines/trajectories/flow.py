"""Trajectories: impressions -> TRAJECTORIES before the split, EVALUATION from it on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import date
from functools import reduce
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipelines.making import literal
from pipelines.notes import TrajectoriesNote, noted
from pipelines.tables import Lake
from pipelines.trajectories.candidates import with_clicks, with_events
from pipelines.trajectories.config import TrajectoryConfig
from pipelines.trajectories.drawn import popularity, with_drawn
from pipelines.trajectories.recent import showings, with_recent
from pipelines.trajectories.resolve import with_first_shown, with_known_news
from pipelines.trajectories.split import Split, labelled_of, split_date, start_of, with_split
from pipelines.trajectories.windows import per_window, with_arrays
from schemas.errors import InputError
from schemas.impression import HISTORIES, IMPRESSIONS
from schemas.news import ITEM_TOKENS
from schemas.trajectory import EVALUATION, TRAJECTORIES

_NEXT_SEED = 0x9E3779B97F4A7C15  # variants draw by seeds far apart, the first by the seed itself
_INPUTS = (IMPRESSIONS, HISTORIES, ITEM_TOKENS)
_OUTPUTS = (TRAJECTORIES, EVALUATION)


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """What a run counted, and the versions of the tables that it read and wrote."""

    summary: dict[str, Any]
    inputs: dict[str, int]
    outputs: dict[str, int]


def build_trajectories(lake: Lake, config: TrajectoryConfig, *, told: Lake | None = None) -> Made:
    """Write both tables for the source; what the same inputs and config made is left as it is.

    `told` is the lake as of old versions, if not the present ones are to be read.
    """
    told = told or lake
    inputs = {table.name: told.version(table) for table in _INPUTS}
    with lake.locked("build_trajectories"):
        made = _made_before(lake, config)
        if made is None or made["inputs"] != inputs:
            made = {"inputs": inputs, "summary": _build(lake, told, inputs, config)}
            _note(lake, config, made)
        return Made(**made, outputs={table.name: lake.version(table) for table in _OUTPUTS})


def split_by(config: TrajectoryConfig, evaluate_from: date) -> Split:
    """The split that the config asks for."""
    return Split(
        evaluate_from=evaluate_from,
        begin=config.begin,
        end=config.end or start_of(evaluate_from),
        idle_users=config.targets == "all",  # their clicks make news popular
        unlabelled=config.unlabelled,
    )


def known_views(views: DataFrame, items: DataFrame, impressions: DataFrame) -> DataFrame:
    """A source's views on either side of the split, their news and clicks as canonical rows of `items`.

    `impressions` are all of the source: they tell when a news was first shown.
    """
    return views.transform(with_known_news, with_first_shown(items, impressions)).transform(with_clicks)


def trajectories(known: DataFrame, config: TrajectoryConfig) -> DataFrame:
    """One row per user window and variant of the impressions before the split."""
    training = known.where("NOT evaluated")
    variants = (_variant(training, config, number) for number in range(config.variants))
    return reduce(DataFrame.unionByName, variants)


def _variant(training: DataFrame, config: TrajectoryConfig, number: int) -> DataFrame:
    seed = (config.seed + number * _NEXT_SEED + 2**63) % 2**64 - 2**63  # of 64 bits, with sign
    chosen: dict[str, Any] = {"candidates": config.candidates, "seed": seed}
    windows = training.transform(with_events, **chosen).transform(per_window, window=config.window)
    if config.targets == "all":
        windows = windows.transform(with_drawn, popularity(training), begin=config.begin, **chosen)
    return windows.transform(with_arrays, history_weight=config.history_weight).withColumn("variant", F.lit(number))


def evaluation(known: DataFrame, shown: DataFrame) -> DataFrame:
    """One row per impression from the split on that shows known news: its own history, no other click of the user's.

    `shown`: what anyone was shown lately, of `recent.showings`.
    """
    return known.where("evaluated AND size(shown_row) > 0").transform(with_recent, shown)


def _build(lake: Lake, told: Lake, inputs: dict[str, int], config: TrajectoryConfig) -> dict[str, Any]:
    impressions, histories, items = (told.read(table, version=inputs[table.name]) for table in _INPUTS)
    ours = f"source = {literal(config.source)}"
    seen = impressions.where(ours)
    asked: dict[str, Any] = {"asked": config.evaluate_from, "end": config.end, "source": config.source}
    evaluate_from = split_date(labelled_of(seen), **asked)
    views = seen.transform(with_split, histories, split_by(config, evaluate_from)).persist()
    known = views.transform(known_views, items.where(ours), seen).persist()
    try:
        summary = {"evaluate_from": str(evaluate_from)} | _checked_counts(known, str(evaluate_from), config)
        views.unpersist()
        shown = showings(seen, items.where(ours), since=start_of(evaluate_from))
        _write(lake, known, shown, config)
    finally:
        for kept in (views, known):
            kept.unpersist()
    first = lake.read(TRAJECTORIES).where(ours).where("variant = 0")  # the others differ in nothing that is counted
    return summary | _written(first) | {"variants": config.variants}


def _write(lake: Lake, known: DataFrame, shown: DataFrame, config: TrajectoryConfig) -> None:
    ours = f"source = {literal(config.source)}"
    if lake.exists(EVALUATION):  # until both tables are written, nobody may take them for a pair
        lake.note(EVALUATION, f"made_from.{config.source}", json.dumps({"unfinished": True}))
    lake.overwrite(TRAJECTORIES, known.transform(trajectories, config), where=ours)
    lake.overwrite(EVALUATION, known.transform(evaluation, shown), where=ours)


def _checked_counts(known: DataFrame, evaluate_from: str, config: TrajectoryConfig) -> dict[str, int]:
    """InputError, before anything is written, if one side of the split would be empty."""
    logged = (F.size("click_row") > 0) & (F.size("negative_row") > 0)
    told = F.size("history_row") > 0
    if config.begin is not None:
        told &= F.col("time") >= F.lit(config.begin)
    trains = logged | told if config.targets == "all" else logged
    judged = F.col("evaluated") & (F.size("shown_row") > 0)
    counts = known.agg(
        F.count_if(~F.col("evaluated") & trains).alias("training"),
        F.count_if(judged & F.col("clicked").isNotNull()).alias("evaluation"),
        F.count_if(judged & F.col("clicked").isNull()).alias("unlabelled"),
        F.coalesce(F.sum("unknown"), F.lit(0)).alias("unknown"),
    ).collect()[0]
    unknown = f"{counts['unknown']} news ids in these impressions stand in no news file of the source"
    if not counts["training"]:
        raise InputError(
            f"source {config.source!r}: no impression {_period(config, evaluate_from)} has a click beside unclicked "
            f"news ({unknown}). Ingest logs of at least two dates, prepare their news, or set a later --evaluate-from"
        )
    if not counts["evaluation"] + counts["unlabelled"]:
        raise InputError(
            f"source {config.source!r}: no impression with click marks on or after {evaluate_from} ({unknown}). "
            "Set an earlier --evaluate-from, or leave it out"
        )
    return {
        "unknown_news": counts["unknown"],
        "evaluation_impressions": counts["evaluation"],
        "unlabelled_impressions": counts["unlabelled"],
    }


def _period(config: TrajectoryConfig, evaluate_from: str) -> str:
    before = f"before {config.to or evaluate_from}"
    return before if config.from_ is None else f"from {config.from_} on and {before}"


def _written(table: DataFrame) -> dict[str, int]:
    target = F.arrays_zip("weight", "logged")
    counts = table.agg(
        F.count("*").alias("trajectories"),
        F.count_distinct("user_id").alias("users"),
        F.sum(F.size("click_row")).alias("clicks"),
        F.sum(F.size(F.filter(target, lambda each: each["weight"] > 0))).alias("targets"),
        F.sum(F.size(F.filter(target, lambda each: (each["weight"] > 0) & ~each["logged"]))).alias("history_targets"),
    )
    return counts.collect()[0].asDict()


def _made_before(lake: Lake, config: TrajectoryConfig) -> dict[str, Any] | None:
    """Inputs and summary of the run that wrote both tables last, if it was for this config and nobody wrote since."""
    if not (lake.exists(TRAJECTORIES) and lake.exists(EVALUATION)):
        return None
    made: dict[str, Any] = noted(lake, EVALUATION, f"made_from.{config.source}", TrajectoriesNote)
    written = [lake.version(TRAJECTORIES), lake.version(EVALUATION) - 1]  # the note itself is a version
    if made.get("config") != asdict(config) or made.get("written") != written or made.get("columns") != _columns():
        return None
    return {"inputs": made.get("inputs"), "summary": made.get("summary", {})}


def _note(lake: Lake, config: TrajectoryConfig, made: dict[str, Any]) -> None:
    written = [lake.version(TRAJECTORIES), lake.version(EVALUATION)]
    note = made | {"config": asdict(config), "written": written, "columns": _columns()}
    lake.note(EVALUATION, f"made_from.{config.source}", json.dumps(note, sort_keys=True))


def _columns() -> list[str]:
    """What the tables of this version hold: those of an older one are made anew."""
    return [*TRAJECTORIES.column_names, *EVALUATION.column_names]
