"""Makes news without text from the ids in a source's log, for sources without a news file."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipelines.news.category_prefix import NO_TEXT_SHA256
from schemas.news import NEWS


def news_of_log(impressions: DataFrame, histories: DataFrame, held: DataFrame) -> DataFrame:
    """NEWS rows, all text empty, of the shown or clicked ids that `held` (NEWS) lacks; its rows stay unchanged."""
    shown = impressions.select("source", F.explode("shown").alias("news_id"))
    clicked = histories.select("source", F.explode("clicks").alias("news_id"))
    named = shown.unionByName(clicked).distinct().join(held, [*NEWS.key], how="left_anti")
    empty = {column.name: F.lit("") for column in NEWS.columns if column.name not in NEWS.key}
    return named.withColumns(empty | {"text_sha256": F.lit(NO_TEXT_SHA256)})
