"""Decides the kind of negatives that a log allows, and checks that both sides of the split hold data."""

from __future__ import annotations

from typing import Literal

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipelines.trajectories.config import Negatives, TrajectoryConfig
from pipelines.trajectories.evaluate_from import EvaluationBegin
from schemas.errors import InputError


def resolve_negatives(labelled: DataFrame, asked: Negatives) -> Literal["shown", "drawn"]:
    """The option; for auto, drawn if no labelled impression of the source has both a click and unclicked news."""
    if asked != "auto":
        return asked
    both = labelled.where(F.array_contains("clicked", True) & F.array_contains("clicked", False))
    clicks = labelled.where(F.array_contains("clicked", True))
    return "drawn" if both.isEmpty() and not clicks.isEmpty() else "shown"


def count_and_check(known: DataFrame, begin: EvaluationBegin, config: TrajectoryConfig) -> dict[str, int]:
    """Counts of impressions; InputError, before any write, if one side of the split would be empty."""
    clicked, drawn = F.size("click_row") > 0, config.negatives == "drawn"
    recent = F.lit(True) if config.begin is None else F.col("time") >= F.lit(config.begin)
    before = ~F.col("evaluated")
    clicks = before & clicked & recent
    # Reuses the column for the same count: Sail rejects two columns of one printed form that are built differently.
    trains = clicks if drawn else before & clicked & (F.size("negative_row") > 0)
    if config.targets == "all":
        trains = trains | (before & (F.size("history_row") > 0) & recent)
    ranked = F.col("in_sample") & (clicked if drawn else F.size("shown_row") > 0)
    counts = known.agg(
        F.count_if(trains).alias("training"),
        F.count_if(clicks).alias("clicked"),
        F.count_distinct(F.when(before & clicked, F.col("user_id"))).alias("users"),
        F.count_if(ranked & F.col("clicked").isNotNull()).alias("evaluation"),
        F.count_if(F.col("in_sample") & (F.size("shown_row") > 0) & F.col("clicked").isNull()).alias("unlabelled"),
        F.coalesce(F.sum("unknown"), F.lit(0)).alias("unknown"),
    ).collect()[0]
    unknown = f"{counts['unknown']} news ids in these impressions are in no news file of the source"
    if not counts["training"]:
        raise InputError(_nothing_trains(begin, config, clicked=counts["clicked"], unknown=unknown))
    if drawn and counts["users"] == 1:
        raise InputError(
            f"source {config.source!r}: only one user clicks before {config.to or begin}, and negatives are drawn "
            "from the clicks of others. Ingest the logs of more users"
        )
    if not counts["evaluation"] + counts["unlabelled"]:
        if config.evaluate_sample < 1:
            raise InputError(
                f"source {config.source!r}: --evaluate-sample {config.evaluate_sample:g} leaves no impression to "
                f"evaluate from {begin} on. Give a larger share"
            )
        raise InputError(
            f"source {config.source!r}: no impression with click marks from {begin} on ({unknown}). "
            "Set an earlier --evaluate-from, or leave it out"
        )
    return {
        "unknown_news": counts["unknown"],
        "evaluation_impressions": counts["evaluation"],
        "unlabelled_impressions": counts["unlabelled"],
    }


def _nothing_trains(begin: EvaluationBegin, config: TrajectoryConfig, *, clicked: int, unknown: str) -> str:
    period = f"before {config.to or begin}"
    period = period if config.from_ is None else f"from {config.from_} on and {period}"
    if clicked:
        return (
            f"source {config.source!r}: all news of the {clicked} impressions with a click {period} were clicked "
            f"({unknown}), and with --negatives shown a click trains only against unclicked news. "
            "Use --negatives drawn, or prepare the news that are unknown"
        )
    return (
        f"source {config.source!r}: no impression {period} has both a click and unclicked news ({unknown}). "
        "Ingest logs of an earlier time, prepare their news, or set a later --evaluate-from"
    )
