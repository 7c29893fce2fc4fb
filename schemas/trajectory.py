"""TRAJECTORIES: one user's window of clicks in time order; EVALUATION: impressions held out for evaluation."""

from __future__ import annotations

from schemas.table import Column, Table

TRAJECTORIES = Table(
    name="trajectories",
    meaning="one row per user window: clicks in time order, candidates and prefix of each click",
    columns=(
        Column("source", "string", "as in impressions"),
        Column("user_id", "string", "as in impressions"),
        Column("window", "int", "0 = the user's latest clicks; windows are cut from the end"),
        Column("time", "timestamp", "when the latest target was shown, or its history logged"),
        Column("click_row", "array<int>", "L item rows, oldest first"),
        Column("prefix", "array<int>", "L counts: clicks of this window made in impressions of earlier seconds"),
        Column(
            "candidate_row",
            "array<array<int>>",
            "L lists of item rows: clicked first, then negatives, shown with it or sampled; empty = context only",
        ),
        Column("weight", "array<float>", "L weights in the loss, history clicks by history_weight; 0 = context only"),
        Column("logged", "array<boolean>", "L marks: the click was made inside an impression of the log"),
        Column("variant", "int", "which sample of the negatives, from 0; null = 0", nullable=True),
    ),
    key=("source", "user_id", "window", "variant"),
    partition_by=("source",),
)

EVALUATION = Table(
    name="evaluation",
    meaning="impressions after the split, as item rows: what the model is evaluated on",
    columns=(
        Column("source", "string", "as in impressions"),
        Column("impression_id", "string", "as in impressions"),
        Column("user_id", "string", "as in impressions"),
        Column("time", "timestamp", "as in impressions"),
        Column("history_row", "array<int>", "item rows of the history that the impression gives, oldest first"),
        Column(
            "shown_row",
            "array<int>",
            "item rows in the order shown, sampled ones in random order; 0 = without an item (unlabelled only)",
        ),
        Column("shown_id", "array<string>", "news ids in the same order"),
        Column("clicked", "array<boolean>", "click mark of each; null = unlabelled", nullable=True),
        Column(
            "shown_age_hours",
            "array<float>",
            "hours since each item, under any of its ids, was first shown to anyone; 0 = now, never from the future",
            nullable=True,
        ),
        Column("recent_shown", "array<int>", "showings of each item, to anyone, in the 24 hours before", nullable=True),
        Column("recent_clicks", "array<int>", "clicks of them: what was popular when it was shown", nullable=True),
        Column("new_user", "boolean", "the user has no impression among those that train", nullable=True),
        Column("also_seen_as", "array<string>", "as in impressions", nullable=True),
        Column(
            "drawn",
            "boolean",
            "its unclicked news were sampled from the day's clicks, not shown to the user; null = no",
            nullable=True,
        ),
    ),
    key=("source", "impression_id", "user_id", "time"),
    partition_by=("source",),
)
