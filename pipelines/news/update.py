"""Brings ITEM_TOKENS up to date with NEWS: finds the items that changes can affect, makes their rows and tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipelines.delta.commits import Changes, Mark
from pipelines.delta.delta_errors import conflict
from pipelines.engine.scratch import Keep
from pipelines.lake.notes import note_source
from pipelines.lake.tables import Lake
from pipelines.news import report
from pipelines.news.category_prefix import NO_TEXT_SHA256, with_category_prefix
from pipelines.news.corpus import count_texts
from pipelines.news.items import assign_rows, changed_items, with_item, with_near_duplicates, with_rows
from pipelines.news.near_duplicates import near_duplicates
from pipelines.news.provenance import Provenance, resolve_provenance
from pipelines.news.settings import ResolvedSettings
from pipelines.news.stop_words import stop_words
from pipelines.news.tokens import CHUNK_ITEMS, refined, tokenised
from pipelines.news.unchanged import RunStart
from schemas.as_spark import spark_schema
from schemas.news import CORPUS_STATISTICS, FIELDS, ITEM_TOKENS, NEAR_DUPLICATES, NEWS
from schemas.table import Table

_APP = "prepare_news"


def update_items(
    lake: Lake, settings: ResolvedSettings, start: RunStart, changed_news: DataFrame, *, keep: Keep
) -> tuple[Provenance, dict[str, Any], dict[str, Any]]:
    """Tokenise the source's new and outdated news, so that all its items are made by the same settings.

    `changed_news`: the rows of NEWS that this run has written. Items of other sources have their own settings and stay
    unchanged; rows are dense over all sources. Returns the items' provenance, what was done, and the present counts.
    """
    before, stored = stored_rows(lake, ITEM_TOKENS)
    rows_before = stored.agg(F.coalesce(F.max("item_row"), F.lit(0)).alias("rows")).collect()[0]["rows"]
    news = lake.read(NEWS).where(F.col("source") == start.source)
    news = news.transform(with_category_prefix) if settings.config.category_first else news
    texts = count_texts_now(news, start, changed_news)
    made = resolve_provenance(lake, settings, news, texts, source=start.source)
    if start.is_current and not settings.config.category_first and made.near_duplicates is None:
        news = affected_news(news, changed_news, keep=keep)

    with_items = news.transform(with_item, stored)
    items = with_rows(with_items, assign_rows(with_items, after=rows_before, keep=keep))
    items = items if made.near_duplicates is None else keep(items)
    near = _near_duplicates(lake, items, made, keep)
    changed = keep(changed_items(items if near is None else with_near_duplicates(items, near), made.sha256_of()))
    tokens = keep(_tokens(lake, changed, made))
    totals = report.totals(tokens, rows_before=rows_before, special_tokens=made.tokens["special_tokens"])
    if before >= 0:  # before the rows: pack rejects rows that the note does not describe, and the next run makes them
        note_source(lake, start.source, made.noted())
    if totals["new_items"] + totals["retokenised_items"]:
        changes_rows = totals["retokenised_items"] > 0
        commit_once(lake, ITEM_TOKENS, tokens, before, stored=changes_rows, tokens_version=_tokens_version())
    return made, totals, report.folded(lake, near, made) | report.corpora(lake, made)


def stored_rows(lake: Lake, table: Table) -> tuple[int, DataFrame]:
    """The table's version and its rows at that version; version -1 and no rows if it does not exist."""
    if not lake.exists(table):
        return -1, lake.spark.createDataFrame([], spark_schema(table))
    version = lake.version(table)
    return version, lake.read(table, version=version)


def commit_once(lake: Lake, table: Table, frame: DataFrame, before: int, *, stored: bool, **instead: str) -> None:
    """Write `frame` in one commit, unless another run of this stage has written since version `before`.

    Both runs use version `before` + 1 as transaction number, so that the second commit changes nothing: its item rows
    could equal those of the first. `stored`: whether the table holds rows with keys of the frame; if not, the rows are
    appended. `instead`: SQL values for columns of stored rows that do not take the incoming value.
    """
    if stored:
        values = {n: f"incoming.{n}" for n in table.column_names if n not in table.key}
        mark = Mark(_APP, before + 1)
        done = lake.merge(table, frame, set_on_match=values | instead, mark=mark) != Changes()
    else:
        done = lake.append(table, frame, app_id=_APP, app_version=before + 1) > 0
    if not done:
        raise conflict(table, lake.path(table))


def _tokens(lake: Lake, changed: DataFrame, made: Provenance) -> DataFrame:
    if not made.language.corpora:  # no refinement, or no field with text
        return tokenised(changed, made.segmenting)
    corpora = lake.read(CORPUS_STATISTICS).where(F.col("source") == made.source)
    chunks = -(-max(1, changed.count()) // CHUNK_ITEMS)
    return refined(changed, made.segmenting, corpora, stop_words(made.language.language), chunks=chunks)


def _near_duplicates(lake: Lake, items: DataFrame, made: Provenance, keep: Keep) -> DataFrame | None:
    """Update and return the source's NEAR_DUPLICATES; None, and no rows in the table, if the option is off."""
    before, stored = stored_rows(lake, NEAR_DUPLICATES)
    if made.near_duplicates is None and before < 0:
        return None
    ours = items.select("item_row")
    held, others = (stored.join(ours, "item_row", how=how) for how in ("left_semi", "left_anti"))
    if made.near_duplicates is None:
        if not held.isEmpty():
            lake.overwrite(NEAR_DUPLICATES, others)
        return None
    canonical = items.where("item_row = canonical_row")
    found = near_duplicates(canonical, made.segmenting.fields, threshold=made.near_duplicates, keep=keep)
    if before < 0 or not (found.exceptAll(held).isEmpty() and held.exceptAll(found).isEmpty()):
        lake.overwrite(NEAR_DUPLICATES, others.unionByName(found))
    return found


def _tokens_version() -> str:
    """SQL: one more if the tokens of a stored row change; rows of an older feedloop have no version yet."""
    same = "stored.segment_tokens <=> incoming.segment_tokens AND stored.segment_field <=> incoming.segment_field"
    return f"coalesce(stored.tokens_version, 1) + CASE WHEN {same} THEN 0 ELSE 1 END"


def keep_changed(news: DataFrame, held: DataFrame) -> DataFrame:
    """The news that NEWS lacks or holds with other values, with `old_sha256` of the stored text, null if none."""
    values = ("category", "subcategory", "text_sha256")
    before = held.select(*NEWS.key, F.struct(*values).alias("before"))
    same = F.col("before").eqNullSafe(F.struct(*values))
    found = news.join(before, [*NEWS.key], how="left").where(~same)
    return found.withColumn("old_sha256", F.col("before.text_sha256")).drop("before")


def affected_news(news: DataFrame, changed: DataFrame, *, keep: Keep) -> DataFrame:
    """The changed news, and the news that share or shared their text: one canonical item serves all of them.

    `news` are all present news of the source, `changed` is from `keep_changed`. If all other items are up to date, only
    the items of these news can be new or differ.
    """
    texts = changed.select("text_sha256").union(changed.select(F.col("old_sha256")))
    shared = texts.where(F.col("text_sha256") != NO_TEXT_SHA256).distinct()  # items without text share nothing
    alike = news.select("news_id", "text_sha256").join(shared, "text_sha256", how="left_semi")
    others = keep(alike.select("news_id").join(changed, "news_id", how="left_anti"))
    own = changed.select(*NEWS.column_names)
    if others.isEmpty():  # then the texts of all other news need not be read
        return own
    return own.unionByName(news.join(others, "news_id", how="left_semi").select(*NEWS.column_names))


def count_texts_now(news: DataFrame, start: RunStart, changed: DataFrame) -> Mapping[str, int]:
    """Field -> number of news with text there. Counts all news only if the number of the older ones is unknown."""
    if not start.texts or not changed.where(F.col("old_sha256").isNotNull()).isEmpty():
        return count_texts(news)
    added = count_texts(changed)
    return {field: start.texts[field] + added[field] for field in FIELDS}
