"""The summary of a prepare_news run: tokens kept of the complete texts, folded items, corpora."""

from __future__ import annotations

from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from pipelines.lake.tables import Lake
from pipelines.news.corpus import stored_corpora
from pipelines.news.provenance import Provenance
from schemas.news import ITEM_TOKENS, NEWS

_EXAMPLES = 5


def totals(tokens: DataFrame, *, rows_before: int, special_tokens: int) -> dict[str, int]:
    """Counts over the rows that a run writes into ITEM_TOKENS: items, segments, tokens, tokens of the complete text."""
    new = F.col("item_row") > rows_before
    refined = F.filter("segment_frequency", lambda counts: F.size(counts) > 0)
    counted = tokens.agg(
        F.count_if(new).alias("new_items"),
        F.count_if(~new).alias("retokenised_items"),
        F.count_if(F.array_max("segment_full_tokens") <= special_tokens).alias("items_without_text"),
        _sum(F.size("segment_field")).alias("segments"),
        _sum(F.size(refined)).alias("refined_segments"),
        _sum(F.size(F.flatten("segment_tokens"))).alias("tokens"),
        _sum(F.aggregate("segment_full_tokens", F.lit(0).cast("long"), lambda a, b: a + b)).alias("full_tokens"),
    )
    return counted.collect()[0].asDict()


def folded(lake: Lake, near: DataFrame | None, made: Provenance) -> dict[str, Any]:
    """The number of the source's items that another item replaces, so that packing never encodes them."""
    gone = F.count_if(F.col("item_row") != F.col("canonical_row")).alias("folded_items")
    items = lake.read(ITEM_TOKENS).where(F.col("source") == made.source)
    counts = items.agg(F.count("*").alias("items"), gone).collect()[0].asDict()
    counts["encodes_saved"] = round(counts["folded_items"] / max(1, counts["items"]), 4)
    if near is None:
        return counts
    return counts | {
        "near_duplicates": {
            "threshold": made.near_duplicates,
            "folded_texts": near.count(),
            "least_similar": _examples(lake, near),
        }
    }


def corpora(lake: Lake, made: Provenance) -> dict[str, Any]:
    """For each refined field of the source: number and texts of its corpus, and the present number of texts."""
    numbers = made.language.corpora
    if not numbers:
        return {}
    stored = stored_corpora(lake)
    fields = {
        field: {"corpus": number, "texts": stored[made.source, field][1], "texts_now": made.texts[field]}
        for field, number in numbers.items()
    }
    return {"corpora": fields}


def _examples(lake: Lake, near: DataFrame) -> list[dict[str, Any]]:
    """The folded items that are least similar to the kept item, with both titles."""
    least = near.orderBy("similarity", "item_row").limit(_EXAMPLES)
    titles = lake.read(ITEM_TOKENS).join(
        lake.read(NEWS).select("source", F.col("news_id").alias("item_id"), "title"), ["source", "item_id"]
    )
    folded, kept = (
        titles.select(F.col("item_row").alias(key), F.struct("item_id", "title").alias(name))
        for key, name in (("item_row", "folded"), ("kept_row", "kept"))
    )
    rows = least.join(folded, "item_row").join(kept, "kept_row").orderBy("similarity", "item_row").collect()
    return [
        {
            "similarity": round(row["similarity"], 3),
            "folded": row["folded"]["item_id"],
            "folded_title": row["folded"]["title"],
            "kept": row["kept"]["item_id"],
            "kept_title": row["kept"]["title"],
        }
        for row in rows
    ]


def _sum(column: Column) -> Column:
    return F.coalesce(F.sum(column), F.lit(0))
