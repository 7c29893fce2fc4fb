"""News: a publisher's news file, or its log -> NEWS, and ITEM_TOKENS for every news that is new or has changed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipelines.news.headed import text_sha256
from pipelines.news.logged import news_of_log
from pipelines.news.normalise import normalise
from pipelines.news.readers import COLUMNS, news_file, read_lines, with_columns
from pipelines.news.segmenting import NewsConfig
from pipelines.news.settings import Settled, settle
from pipelines.news.update import held_rows, merge_once, update_items
from pipelines.tables import Lake
from schemas.errors import InputError
from schemas.impression import HISTORIES, IMPRESSIONS
from schemas.news import FIELDS, NEWS

_TEXTS = COLUMNS[1:]


def prepare_news(lake: Lake, news: Path, config: NewsConfig, *, source: str) -> dict[str, Any]:
    """Bring NEWS and ITEM_TOKENS up to date with the file; returns what was found and changed."""
    settled = settle(lake, config, source=source)  # what cannot be used must stop the run before any write
    file = news_file(news)
    read = (
        read_lines(lake.spark, file).transform(with_columns, file).transform(per_news).transform(normalised).persist()
    )
    found = _checked_counts(read, file)
    told = read.where("news_id IS NOT NULL").withColumns({"source": F.lit(source), "text_sha256": text_sha256()})
    updated = _update(lake, told, settled, source=source)
    read.unpersist()
    return found | updated


def prepare_logged_news(lake: Lake, config: NewsConfig, *, source: str) -> dict[str, Any]:
    """For a publisher that gives no text: every id that its log shows or clicks becomes an item without any.

    InputError where the source has news with text, for a news file is what was forgotten there.
    """
    settled = settle(lake, config, source=source)
    impressions, histories = (lake.read(table).where(F.col("source") == source) for table in (IMPRESSIONS, HISTORIES))
    _, held = held_rows(lake, NEWS)
    if not held.where((F.col("source") == source) & (F.concat(*FIELDS) != "")).isEmpty():
        raise InputError(f"{lake.root}: {source} has news with text. Name its news file with --news")
    news = news_of_log(impressions, histories, held).persist()
    found = news.count()
    if not found and held.where(F.col("source") == source).isEmpty():
        raise InputError(f"{lake.root}: {source} has no impressions. Run ./feedloop ingest first, or name its --source")
    updated = _update(lake, news, settled, source=source)
    news.unpersist()
    return {"news": found} | updated


def per_news(lines: DataFrame) -> DataFrame:
    """One row per news id: the file's last line that names it. Lines without an id share one row; `lines` counts."""
    trimmed = F.trim("news_id")
    named = lines.withColumn("news_id", F.when(trimmed != "", trimmed))
    last = F.max_by(F.struct(*_TEXTS), "place").alias("last")
    return named.groupBy("news_id").agg(last, F.count("*").alias("lines")).select("news_id", "lines", "last.*")


def normalised(news: DataFrame) -> DataFrame:
    """The same columns, text in one spelling."""

    def tidy(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        for batch in batches:
            columns = {name: batch[name] for name in batch.schema.names}
            yield pa.RecordBatch.from_pydict(columns | {name: normalise(batch[name]) for name in _TEXTS})

    return news.mapInArrow(tidy, news.schema)


def keep_changed(news: DataFrame, held: DataFrame) -> DataFrame:
    """The news that NEWS does not hold with the same values."""
    values = ("category", "subcategory", "text_sha256")
    before = held.select(*NEWS.key, F.struct(*values).alias("before"))
    same = F.col("before").eqNullSafe(F.struct(*values))
    return news.join(before, [*NEWS.key], how="left").where(~same).drop("before")


def _update(lake: Lake, told: DataFrame, settled: Settled, *, source: str) -> dict[str, Any]:
    """Merge what NEWS lacks of `told` (its rows), and tokenise what is new."""
    before, held = held_rows(lake, NEWS)
    changed = told.transform(keep_changed, held)
    changed_news = changed.count()
    if changed_news:
        merge_once(lake, NEWS, changed, before)
    changes = {name: [str(before), str(now)] for name, (before, now) in settled.changed.items()}
    made = {"changed_news": changed_news, "changed_settings": changes}
    return made | update_items(lake, settled, source=source)


def _checked_counts(read: DataFrame, file: Path) -> dict[str, int]:
    named = F.col("news_id").isNotNull()
    counts = read.agg(
        F.coalesce(F.sum("lines"), F.lit(0)).alias("lines"),
        F.coalesce(F.sum(F.when(~named, F.col("lines"))), F.lit(0)).alias("rejected"),
        F.count_if(named).alias("news"),
        F.count_if(named & (F.col("title") != "")).alias("titled"),
    ).collect()[0]
    if not counts["titled"]:
        wanted = "MIND's eight tab-separated columns" if ".tsv" in file.name else "JSON with news_id and title"
        raise InputError(
            f"{file}: of {counts['lines']} lines none holds a news id and a title. Expected {wanted} on each line; "
            "name the right file with --news"
        )
    repeated = counts["lines"] - counts["rejected"] - counts["news"]
    return {name: counts[name] for name in ("lines", "rejected", "news")} | {"repeated": repeated}
