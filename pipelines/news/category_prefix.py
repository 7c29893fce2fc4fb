"""Puts the words of a news' category in front of its title, for models that read only text."""

from __future__ import annotations

import hashlib

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from schemas.news import FIELDS

_BETWEEN = "\u001f"
NO_TEXT_SHA256 = hashlib.sha256((_BETWEEN * (len(FIELDS) - 1)).encode()).hexdigest()


def text_sha256() -> Column:
    """NEWS.text_sha256 of the present text columns."""
    return F.sha2(F.concat_ws(_BETWEEN, *FIELDS), 256)


def with_category_prefix(news: DataFrame) -> DataFrame:
    """NEWS rows with titles such as "sports football nfl: Three trades". An empty title stays empty.

    text_sha256 is the hash of the new text, so that another category makes other tokens, and the same title in two
    categories makes two items.
    """
    words = F.concat_ws(" ", *(_words(name) for name in ("category", "subcategory")))
    title = F.when((words != "") & (F.col("title") != ""), F.concat(words, F.lit(": "), "title"))
    return news.withColumn("title", F.coalesce(title, "title")).withColumn("text_sha256", text_sha256())


def _words(name: str) -> Column:
    """football_nfl and footballNFL as `football nfl`; null if the publisher gives none."""
    spaced = F.regexp_replace(name, r"(\p{Ll})(\p{Lu})", "$1 $2")
    words = F.lower(F.trim(F.regexp_replace(spaced, r"[\s_./-]+", " ")))
    return F.when(words != "", words)
