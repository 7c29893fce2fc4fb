"""Checks: what kind of negatives a log allows, and whether both sides of the split hold something to rank."""

from __future__ import annotations

from typing import Literal

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipelines.trajectories.config import Negatives, TrajectoryConfig
from pipelines.trajectories.evaluate_from import Begin
from schemas.errors import InputError


def negatives_of(labelled: DataFrame, asked: Negatives) -> Literal["shown", "drawn"]:
    """As asked; else drawn where no labelled impression of the source has an unclicked news beside a click."""
    if asked != "auto":
        return asked
    both = labelled.where(F.array_contains("clicked", True) & F.array_contains("clicked", False))
    clicks = labelled.where(F.array_contains("clicked", True))
    return "drawn" if both.isEmpty() and not clicks.isEmpty() else "shown"


def checked_counts(known: DataFrame, begin: Begin, config: TrajectoryConfig) -> dict[str, int]:
    """InputError, before anything is written, if one side of the split would be empty."""
    clicked, drawn = F.size("click_row") > 0, config.negatives == "drawn"
    recent = F.lit(True) if config.begin is None else F.col("time") >= F.lit(config.begin)
    logged = clicked & recent if drawn else clicked & (F.size("negative_row") > 0)
    trains = logged | ((F.size("history_row") > 0) & recent) if config.targets == "all" else logged
    ranked = F.col("judged") & (clicked if drawn else F.size("shown_row") > 0)
    counts = known.agg(
        F.count_if(~F.col("evaluated") & trains).alias("training"),
        F.count_if(~F.col("evaluated") & clicked & recent).alias("clicked"),
        F.count_distinct(F.when(~F.col("evaluated") & clicked, F.col("user_id"))).alias("users"),
        F.count_if(ranked & F.col("clicked").isNotNull()).alias("evaluation"),
        F.count_if(F.col("judged") & (F.size("shown_row") > 0) & F.col("clicked").isNull()).alias("unlabelled"),
        F.coalesce(F.sum("unknown"), F.lit(0)).alias("unknown"),
    ).collect()[0]
    unknown = f"{counts['unknown']} news ids in these impressions stand in no news file of the source"
    if not counts["training"]:
        raise InputError(_nothing_trains(begin, config, clicked=counts["clicked"], unknown=unknown))
    if drawn and counts["users"] == 1:
        raise InputError(
            f"source {config.source!r}: one user alone clicks before {config.to or begin}, and negatives are drawn "
            "from what others click. Ingest the logs of more users"
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


def _nothing_trains(begin: Begin, config: TrajectoryConfig, *, clicked: int, unknown: str) -> str:
    period = f"before {config.to or begin}"
    period = period if config.from_ is None else f"from {config.from_} on and {period}"
    if clicked:
        return (
            f"source {config.source!r}: all news of the {clicked} impressions with a click {period} were clicked "
            f"({unknown}), and with --negatives shown a click trains beside unclicked news only. "
            "Use --negatives drawn, or prepare the news that are unknown"
        )
    return (
        f"source {config.source!r}: no impression {period} has a click beside unclicked news ({unknown}). "
        "Ingest logs of an earlier time, prepare their news, or set a later --evaluate-from"
    )
