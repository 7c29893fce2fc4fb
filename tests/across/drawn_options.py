"""Options of each job, drawn: small batches and windows, every kind of choice."""

from __future__ import annotations

import random
from datetime import date

from pipelines.ingest.config import IngestConfig
from pipelines.news.segmenting import NewsConfig
from pipelines.packing.config import PackingConfig
from pipelines.trajectories.config import TrajectoryConfig


def news_config(draw: random.Random) -> NewsConfig:
    """Short segments, so that words are chosen."""
    return NewsConfig(
        tokens_per_segment=draw.choice([5, 12]),
        fields=draw.choice([("title",), ("title", "body"), ("title", "abstract", "body")]),
        select=draw.choice(["text", "score", "start"]),
        category_first=draw.random() < 0.5,
        near_duplicates=draw.choice([0.0, 0.5, 0.8]),
    )


def trajectory_config(draw: random.Random, source: str) -> TrajectoryConfig:
    """Small windows, every kind of negative."""
    return TrajectoryConfig(
        source=source,
        window=draw.choice([3, 50]),
        candidates=draw.choice([2, 5]),
        negatives=draw.choice(["auto", "shown", "drawn"]),
        drawn_candidates=4,
        targets=draw.choice(["logged", "all"]),
        history_weight=draw.choice([1.0, 0.3]),
        unlabelled=draw.random() < 0.5,
        variants=2,
        evaluate_share=draw.choice([None, 0.3]),
        seed=draw.randrange(100),
    )


def packing_config(draw: random.Random, source: str) -> PackingConfig:
    """Small batches in several shards."""
    return PackingConfig(
        source=source,
        order=draw.choice(["random", "time", "length", "minhash", "shp", "shp_balanced", "shp_kway"]),
        batch_trajectories=draw.choice([2, 4]),
        batch_items=30,
        batch_tokens=draw.choice([0, 200]),
        shard_trajectories=8,
        shard_by=draw.choice(["time", "items", "random"]),
        mixing=draw.choice([0.0, 0.2]),
        variants=2,
        seed=draw.randrange(100),
    )


def replay_config(draw: random.Random) -> IngestConfig:
    """By a rule that refuses other lines than before."""
    return IngestConfig(replay=True, max_reject_share=1, earliest=draw.choice([date(1960, 1, 1), date(2026, 3, 28)]))
