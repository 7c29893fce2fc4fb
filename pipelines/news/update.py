"""Items brought up to date with NEWS: rows for the new ones, tokens for all that are new or have changed."""

from __future__ import annotations

from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipelines.delta.commits import Changes, Mark
from pipelines.delta.delta_errors import conflict
from pipelines.engine.scratch import Keep
from pipelines.lake.tables import Lake
from pipelines.lake.token_notes import note_source
from pipelines.news import report
from pipelines.news.affected import concerned, texts_now
from pipelines.news.category_prefix import with_category_prefix
from pipelines.news.items import changed_items, new_rows, numbered, resolved, with_item
from pipelines.news.near_duplicates import near_duplicates
from pipelines.news.provenance import MadeBy, made_by
from pipelines.news.settings import Settled
from pipelines.news.stop_words import stop_words
from pipelines.news.tokens import CHUNK_ITEMS, refined, tokenised
from pipelines.news.unchanged import Start
from schemas.as_spark import spark_schema
from schemas.news import CORPUS_STATISTICS, ITEM_TOKENS, NEAR_DUPLICATES, NEWS
from schemas.table import Table

_APP = "prepare_news"


def update_items(
    lake: Lake, settled: Settled, start: Start, changed_news: DataFrame, *, keep: Keep
) -> tuple[MadeBy, dict[str, Any], dict[str, Any]]:
    """Tokenise what is new or outdated in the source's NEWS, so that all its items are made by the same settings.

    `changed_news`: what this run has written there. Items of other sources, which have settings of their own, are left
    alone; rows are dense over all sources. Returns by what the items are made, what was done, and what there is now.
    """
    before, held = held_rows(lake, ITEM_TOKENS)
    rows_before = held.agg(F.coalesce(F.max("item_row"), F.lit(0)).alias("rows")).collect()[0]["rows"]
    news = lake.read(NEWS).where(F.col("source") == start.source)
    news = news.transform(with_category_prefix) if settled.config.category_first else news
    made = made_by(lake, settled, news, texts_now(news, start, changed_news), source=start.source)
    if start.stands and not settled.config.category_first and made.near_duplicates is None:
        news = concerned(news, changed_news, keep=keep)

    with_items = news.transform(with_item, held)
    items = numbered(with_items, new_rows(with_items, after=rows_before, keep=keep))
    items = items if made.near_duplicates is None else keep(items)
    near = _near_duplicates(lake, items, made, keep)
    changed = keep(changed_items(items if near is None else resolved(items, near), made.sha256_of()))
    tokens = keep(_tokens(lake, changed, made))
    totals = report.totals(tokens, rows_before=rows_before, special_tokens=made.tokens["special_tokens"])
    if before >= 0:  # before the rows: pack refuses those that the note does not tell of, and the next run makes them
        note_source(lake, start.source, made.noted())
    if totals["new_items"] + totals["retokenised_items"]:
        stored = totals["retokenised_items"] > 0
        write_once(lake, ITEM_TOKENS, tokens, before, stored=stored, tokens_version=_tokens_version())
    return made, totals, report.folded(lake, near, made) | report.corpora(lake, made)


def held_rows(lake: Lake, table: Table) -> tuple[int, DataFrame]:
    """The table's version and its rows at that version; version -1 and no rows where it is not made yet."""
    if not lake.exists(table):
        return -1, lake.spark.createDataFrame([], spark_schema(table))
    version = lake.version(table)
    return version, lake.read(table, version=version)


def write_once(lake: Lake, table: Table, frame: DataFrame, before: int, *, stored: bool, **instead: str) -> None:
    """One commit, if no other run of this stage has written since version `before`, which `frame` was compared with.

    Both take the version after `before` as transaction number, so that the second to commit changes nothing: its item
    rows could be the first one's. `stored`: whether the table holds rows of the frame; others are added without a look
    at it. `instead`: what a column of a stored row becomes, where not the incoming value.
    """
    if stored:
        values = {n: f"incoming.{n}" for n in table.column_names if n not in table.key}
        mark = Mark(_APP, before + 1)
        done = lake.merge(table, frame, set_on_match=values | instead, mark=mark) != Changes()
    else:
        done = lake.append(table, frame, app_id=_APP, app_version=before + 1) > 0
    if not done:
        raise conflict(table, lake.path(table))


def _tokens(lake: Lake, changed: DataFrame, made: MadeBy) -> DataFrame:
    if not made.language.corpora:  # nothing is refined, or no field holds text
        return tokenised(changed, made.segmenting)
    corpora = lake.read(CORPUS_STATISTICS).where(F.col("source") == made.source)
    chunks = -(-max(1, changed.count()) // CHUNK_ITEMS)
    return refined(changed, made.segmenting, corpora, stop_words(made.language.language), chunks=chunks)


def _near_duplicates(lake: Lake, items: DataFrame, made: MadeBy, keep: Keep) -> DataFrame | None:
    """The source's NEAR_DUPLICATES as they are by now; None where they are not asked for: then the table has none."""
    before, stored = held_rows(lake, NEAR_DUPLICATES)
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
    """One more where the tokens of a stored row change; a row of an older feedloop has none yet. In SQL."""
    same = "stored.segment_tokens <=> incoming.segment_tokens AND stored.segment_field <=> incoming.segment_field"
    return f"coalesce(stored.tokens_version, 1) + CASE WHEN {same} THEN 0 ELSE 1 END"
