"""News: a publisher's news file, or its log -> NEWS, and ITEM_TOKENS for every news that is new or has changed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipelines.commits import Changes, Mark
from pipelines.news.items import changed_items, new_rows, with_item
from pipelines.news.logged import news_of_log
from pipelines.news.normalise import normalise
from pipelines.news.readers import COLUMNS, news_file, read_lines, with_columns
from pipelines.news.tokenise import Segmenting, segment
from pipelines.refusals import conflict
from pipelines.tables import Lake
from schemas.as_spark import spark_schema
from schemas.errors import InputError
from schemas.impression import HISTORIES, IMPRESSIONS
from schemas.news import FIELDS, ITEM_TOKENS, NEWS
from schemas.table import Table

_APP = "prepare_news"
_TEXTS = COLUMNS[1:]
_ITEM = ("source", "item_id", "item_row", "canonical_row", "text_sha256", "text_version", "tokenizer_sha256")


def prepare_news(lake: Lake, news: Path, segmenting: Segmenting, *, source: str) -> dict[str, Any]:
    """Bring NEWS and ITEM_TOKENS up to date with the file; returns what was found and changed."""
    segmenting.described()  # a tokenizer that does not load must stop the run before any write
    file = news_file(news)
    read = (
        read_lines(lake.spark, file).transform(with_columns, file).transform(per_news).transform(normalised).persist()
    )
    found = _checked_counts(read, file)
    told = read.where("news_id IS NOT NULL").withColumns({"source": F.lit(source), "text_sha256": _text_sha256()})
    updated = _update(lake, told, segmenting)
    read.unpersist()
    return found | updated


def prepare_logged_news(lake: Lake, segmenting: Segmenting, *, source: str) -> dict[str, Any]:
    """For a publisher that gives no text: every id that its log shows or clicks becomes an item without any.

    InputError where the source has news with text, for a news file is what was forgotten there.
    """
    segmenting.described()
    impressions, histories = (lake.read(table).where(F.col("source") == source) for table in (IMPRESSIONS, HISTORIES))
    _, held = _held(lake, NEWS)
    if not held.where((F.col("source") == source) & (F.concat(*FIELDS) != "")).isEmpty():
        raise InputError(f"{lake.root}: {source} has news with text. Name its news file with --news")
    news = news_of_log(impressions, histories, held).persist()
    found = news.count()
    if not found and held.where(F.col("source") == source).isEmpty():
        raise InputError(f"{lake.root}: {source} has no impressions. Run ./feedloop ingest first, or name its --source")
    updated = _update(lake, news, segmenting)
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


def tokenised(items: DataFrame, segmenting: Segmenting) -> DataFrame:
    """Adds segment_field and segment_tokens."""
    fields = segmenting.fields
    numbers = [FIELDS.index(name) for name in fields]

    def tokenise(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        tokenizer = segmenting.build()  # once per task
        for batch in batches:
            field, tokens = segment(tokenizer, [batch[name].to_pylist() for name in fields], numbers)
            columns = {name: batch[name] for name in _ITEM}
            yield pa.RecordBatch.from_pydict(columns | {"segment_field": field, "segment_tokens": tokens})

    return items.select(*_ITEM, *fields).mapInArrow(tokenise, spark_schema(ITEM_TOKENS))


def _update(lake: Lake, told: DataFrame, segmenting: Segmenting) -> dict[str, int]:
    """Merge what NEWS lacks of `told` (its rows), and tokenise what is new."""
    before, held = _held(lake, NEWS)
    changed = told.transform(keep_changed, held)
    changed_news = changed.count()
    if changed_news:
        _merge(lake, NEWS, changed, before)
    items = _update_items(lake, segmenting)
    made = {"tokens": segmenting.described(), "fields": segmenting.fields, "sha256": segmenting.sha256}
    lake.note(ITEM_TOKENS, "made_from", json.dumps(made, sort_keys=True))
    return {"changed_news": changed_news} | items


def _update_items(lake: Lake, segmenting: Segmenting) -> dict[str, int]:
    """Tokenise what is new or outdated in all of NEWS, so that the table always holds one tokenizer's segments."""
    before, held = _held(lake, ITEM_TOKENS)
    rows_before = held.agg(F.coalesce(F.max("item_row"), F.lit(0)).alias("rows")).collect()[0]["rows"]
    news = lake.read(NEWS).transform(with_item, held)
    rows = new_rows(news, after=rows_before)
    changed = changed_items(news, rows, tokenizer_sha256=segmenting.sha256)
    tokens = changed.transform(tokenised, segmenting).persist()
    totals = tokens.agg(
        F.count("*").alias("changed_items"),
        F.count_if(F.col("item_row") > rows_before).alias("new_items"),
        F.max("item_row").alias("last_row"),
    ).collect()[0]
    if totals["changed_items"]:
        _merge(lake, ITEM_TOKENS, tokens, before)
    tokens.unpersist()
    rows.unpersist()
    return {
        "new_items": totals["new_items"],
        "retokenised_items": totals["changed_items"] - totals["new_items"],
        "items": rows_before + totals["new_items"],
    }


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


def _text_sha256() -> Any:
    return F.sha2(F.concat_ws("\u001f", *FIELDS), 256)


def _held(lake: Lake, table: Table) -> tuple[int, DataFrame]:
    """The table's version and its rows at that version; version -1 and no rows where it is not made yet."""
    if not lake.exists(table):
        return -1, lake.spark.createDataFrame([], spark_schema(table))
    version = lake.version(table)
    return version, lake.read(table, version=version)


def _merge(lake: Lake, table: Table, frame: DataFrame, before: int) -> None:
    """One commit, if no other run of this stage has merged since version `before`, which `frame` was compared with.

    Both take the version after `before` as transaction number, so that the second to commit changes nothing: its item
    rows could be the first one's.
    """
    values = {name: f"incoming.{name}" for name in table.column_names if name not in table.key}
    changes = lake.merge(table, frame, set_on_match=values, mark=Mark(_APP, before + 1))
    if changes == Changes():
        raise conflict(table, lake.path(table))
