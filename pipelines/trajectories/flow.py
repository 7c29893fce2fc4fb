"""Builds TRAJECTORIES from the impressions before the split and EVALUATION from those after it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime
from functools import reduce
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipelines.delta.table_ddl import literal
from pipelines.lake.notes import TrajectoriesNote, read_note
from pipelines.lake.tables import Lake
from pipelines.trajectories.checks import count_and_check, resolve_negatives
from pipelines.trajectories.config import TrajectoryConfig
from pipelines.trajectories.day_negatives import clicks_of_days, with_negatives_of_day
from pipelines.trajectories.evaluate_from import EvaluationBegin, evaluation_begin, labelled_of
from pipelines.trajectories.events import per_window, with_arrays, with_clicks, with_events
from pipelines.trajectories.recent_counts import showings, with_recent
from pipelines.trajectories.resolve import with_first_shown, with_known_news
from pipelines.trajectories.sampled_candidates import with_drawn_candidates
from pipelines.trajectories.sampled_negatives import popularity, with_drawn_negatives
from pipelines.trajectories.sampling import sample_evaluation, without_bots
from pipelines.trajectories.split import Split, with_split
from schemas.impression import HISTORIES, IMPRESSIONS
from schemas.news import ITEM_TOKENS
from schemas.trajectory import EVALUATION, TRAJECTORIES

_SEED_STRIDE = 0x9E3779B97F4A7C15  # distance between the seeds of variants; the first uses the seed itself
_INPUTS = (IMPRESSIONS, HISTORIES, ITEM_TOKENS)
_OUTPUTS = (TRAJECTORIES, EVALUATION)


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """The summary of a run, and the versions of the tables that it read and wrote."""

    summary: dict[str, Any]
    inputs: dict[str, int]
    outputs: dict[str, int]


def build_trajectories(lake: Lake, config: TrajectoryConfig, *, read_from: Lake | None = None) -> Made:
    """Write both tables for the source. Tables of the same inputs and config are left unchanged.

    `read_from`: the lake as of older versions, to read those instead of the present ones.
    """
    read_from = read_from or lake
    inputs = {table.name: read_from.version(table) for table in _INPUTS}
    with lake.locked("build_trajectories"):
        made = _made_before(lake, config)
        if made is None or made["inputs"] != inputs:
            made = {"inputs": inputs, "summary": _build(lake, read_from, inputs, config)}
            _note(lake, config, made)
        return Made(**made, outputs={table.name: lake.version(table) for table in _OUTPUTS})


def make_split(config: TrajectoryConfig, evaluate_from: datetime) -> Split:
    """The split of the config."""
    return Split(
        evaluate_from=evaluate_from,
        begin=config.begin,
        end=config.end or evaluate_from,
        idle_users=config.targets == "all" or config.negatives == "drawn",  # their clicks make news popular
        unlabelled=config.unlabelled,
        sample=1.0 if config.negatives == "drawn" else config.evaluate_sample,  # drawing needs all clicks
    )


def known_views(views: DataFrame, first_shown: DataFrame) -> DataFrame:
    """A source's views on both sides of the split, their news and clicks as canonical rows. Adds `in_sample`, which is
    true for every evaluated view until `sample_evaluation`.

    `first_shown`: when each news was first shown in any impression of the source (`with_first_shown`).
    """
    known = views.transform(with_known_news, first_shown).transform(with_clicks)
    return known.withColumn("in_sample", F.col("evaluated"))


def trajectories(known: DataFrame, config: TrajectoryConfig) -> DataFrame:
    """One row per user window and variant of the impressions before the split."""
    training = known.where("NOT evaluated")
    variants = (_variant(training, config, number) for number in range(config.variants))
    return reduce(DataFrame.unionByName, variants)


def _variant(training: DataFrame, config: TrajectoryConfig, number: int) -> DataFrame:
    seed = (config.seed + number * _SEED_STRIDE + 2**63) % 2**64 - 2**63  # a signed 64-bit integer
    chosen: dict[str, Any] = {"candidates": config.candidates, "seed": seed}
    windows = training.transform(with_events, **chosen).transform(per_window, window=config.window)
    if config.negatives == "drawn":
        windows = windows.transform(with_negatives_of_day, clicks_of_days(training), begin=config.begin, **chosen)
    if config.max_windows_per_user is not None:
        windows = windows.where(F.col("window") < config.max_windows_per_user)
    if config.targets == "all":
        windows = windows.transform(with_drawn_negatives, popularity(training), begin=config.begin, **chosen)
    return windows.transform(with_arrays, history_weight=config.history_weight).withColumn("variant", F.lit(number))


def evaluation(known: DataFrame, config: TrajectoryConfig, first_shown: DataFrame) -> DataFrame:
    """One row per sampled impression with known news, with its own history and no other click of the user.

    With drawn negatives, one row per impression with a click: the clicked news and drawn news.
    """
    if config.negatives == "drawn":
        return known.transform(with_drawn_candidates, first_shown, count=config.drawn_candidates, seed=config.seed)
    return known.where("in_sample AND size(shown_row) > 0").withColumn("drawn", F.lit(False))


def _build(lake: Lake, read_from: Lake, inputs: dict[str, int], config: TrajectoryConfig) -> dict[str, Any]:
    impressions, histories, items = (read_from.read(table, version=inputs[table.name]) for table in _INPUTS)
    ours = f"source = {literal(config.source)}"
    with lake.scratch() as keep:
        seen, bots = without_bots(impressions.where(ours), config, keep)
        labelled = labelled_of(seen)
        begin = evaluation_begin(
            labelled,
            asked=config.evaluate_from,
            share=config.evaluate_share,
            begin=config.begin,
            end=config.end,
            source=config.source,
        )
        config = replace(config, negatives=resolve_negatives(labelled, config.negatives))
        first_shown = with_first_shown(items.where(ours), seen)
        views = keep(seen.transform(with_split, histories, make_split(config, begin.at)))
        known = sample_evaluation(keep(views.transform(known_views, first_shown)), config, keep)
        summary = _decisions(begin, config) | bots | count_and_check(known, begin, config)
        shown = showings(seen, items.where(ours), since=begin.at)
        kept = known.transform(evaluation, config, first_shown).transform(with_recent, shown)
        _write(lake, known.transform(trajectories, config), kept, config)
    first = lake.read(TRAJECTORIES).where(ours).where("variant = 0")  # all variants have the same counts
    return summary | _written(first) | {"variants": config.variants}


def _decisions(begin: EvaluationBegin, config: TrajectoryConfig) -> dict[str, Any]:
    """The settings decided by the options or else by the data; the packed directory records them."""
    share = {} if begin.share is None else {"evaluate_share": begin.share}
    drawn = {"drawn_candidates": config.drawn_candidates} if config.negatives == "drawn" else {}
    return {
        "evaluate_from": str(begin),
        "split_by": begin.by,
        **share,
        "negatives": config.negatives,
        **drawn,
        **config.samples,
    }


def _write(lake: Lake, made: DataFrame, kept: DataFrame, config: TrajectoryConfig) -> None:
    ours = f"source = {literal(config.source)}"
    if lake.exists(EVALUATION):  # until both tables are written, no reader may take them for a pair
        lake.note(EVALUATION, f"made_from.{config.source}", json.dumps({"unfinished": True}))
    lake.overwrite(TRAJECTORIES, made, where=ours)
    lake.overwrite(EVALUATION, kept, where=ours)


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
    """Inputs and summary of the last run, if it had this config and no other run has written since."""
    if not (lake.exists(TRAJECTORIES) and lake.exists(EVALUATION)):
        return None
    made: dict[str, Any] = read_note(lake, EVALUATION, f"made_from.{config.source}", TrajectoriesNote)
    written = [lake.version(TRAJECTORIES), lake.version(EVALUATION) - 1]  # the note itself is a version
    if made.get("config") != config.noted or made.get("written") != written or made.get("columns") != _columns():
        return None
    return {"inputs": made.get("inputs"), "summary": made.get("summary", {})}


def _note(lake: Lake, config: TrajectoryConfig, made: dict[str, Any]) -> None:
    written = [lake.version(TRAJECTORIES), lake.version(EVALUATION)]
    note = made | {"config": config.noted, "written": written, "columns": _columns()}
    lake.note(EVALUATION, f"made_from.{config.source}", json.dumps(note, sort_keys=True))


def _columns() -> list[str]:
    """The columns of this version's tables; tables with other columns are built again."""
    return [*TRAJECTORIES.column_names, *EVALUATION.column_names]
