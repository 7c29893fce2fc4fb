"""Writes NEWS from a publisher's news file or log, and ITEM_TOKENS for every new or changed news."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipelines.engine.scratch import Keep
from pipelines.lake.notes import noted_sources
from pipelines.lake.tables import Lake
from pipelines.news.category_prefix import NO_TEXT_SHA256, text_sha256
from pipelines.news.readers import COLUMNS, news_file, read_news
from pipelines.news.segmenting import NewsConfig
from pipelines.news.settings import ResolvedSettings, resolve_settings
from pipelines.news.unchanged import RunStart, fingerprint, inspect_lake, note_run
from pipelines.news.update import commit_once, keep_changed, stored_rows, update_items
from schemas.errors import InputError
from schemas.impression import HISTORIES, IMPRESSIONS
from schemas.news import FIELDS, NEWS

_TEXTS = COLUMNS[1:]


def prepare_news(lake: Lake, news: Path, config: NewsConfig, *, source: str) -> dict[str, Any]:
    """Bring NEWS and ITEM_TOKENS up to date with the file; returns counts of what was found and changed.

    The file is not parsed if the source's last run read the same one and nothing has changed since.
    """
    settings = resolve_settings(lake, config, source=source)  # invalid options must stop the run before any write
    file = news_file(news)
    start = inspect_lake(lake, settings, fingerprint(file), source=source)
    if start.summary is not None:
        return start.summary
    with lake.scratch() as keep:
        read = keep(read_news(lake.spark, file).transform(per_news))
        found = _count_and_check(read, file)
        named = read.where("news_id IS NOT NULL").withColumns({"source": F.lit(source), "text_sha256": text_sha256()})
        return _update(lake, named, settings, start, keep=keep, found=found)


def prepare_logged_news(lake: Lake, config: NewsConfig, *, source: str) -> dict[str, Any]:
    """For a publisher without text: every news id in its log becomes an item without text.

    InputError if the source has news with text: then the run lacks the option that names the news file.
    """
    settings = resolve_settings(lake, config, source=source)
    start = inspect_lake(lake, settings, lake.versions((IMPRESSIONS, HISTORIES)), source=source)
    if start.summary is not None:
        return start.summary
    impressions, histories = (lake.read(table).where(F.col("source") == source) for table in (IMPRESSIONS, HISTORIES))
    _, stored = stored_rows(lake, NEWS)
    if not stored.where((F.col("source") == source) & (F.concat(*FIELDS) != "")).isEmpty():
        raise InputError(f"{lake.root}: {source} has news with text. Name its news file with --news")
    with lake.scratch() as keep:
        news = keep(news_of_log(impressions, histories, stored))
        found = news.count()
        if not found and stored.where(F.col("source") == source).isEmpty():
            raise InputError(
                f"{lake.root}: {source} has no impressions. Run ./feedloop ingest first, or name its --source"
            )
        summary = _update(lake, news, settings, start, keep=keep, found={"news": 0})
        return summary | {"news": found}


def per_news(lines: DataFrame) -> DataFrame:
    """One row per news id, from its last line, and `lines`, their number. Lines without id share a row."""
    trimmed = F.trim("news_id")
    named = lines.withColumn("news_id", F.when(trimmed != "", trimmed))
    last = F.max_by(F.struct(*_TEXTS), "place").alias("last")
    return named.groupBy("news_id").agg(last, F.count("*").alias("lines")).select("news_id", "lines", "last.*")


def _update(
    lake: Lake, news: DataFrame, settings: ResolvedSettings, start: RunStart, *, keep: Keep, found: dict[str, int]
) -> dict[str, Any]:
    """Write the rows of `news` that NEWS lacks, tokenise new text, and note the resulting state.

    `found`: counts of the input, for the summary of a run that changes nothing.
    """
    before, stored = stored_rows(lake, NEWS)
    changed = keep(news.transform(keep_changed, stored))
    counts = changed.agg(F.count("*").alias("all"), F.count("old_sha256").alias("stored")).collect()[0]
    if counts["all"]:
        commit_once(lake, NEWS, changed, before, stored=counts["stored"] > 0)
    if start.is_current and not counts["all"]:
        unchanged = {**start.noted["summary"], **found}
        note_run(lake, start, noted_sources(lake)[start.source], start.texts, unchanged)
        return unchanged
    changes = {name: [str(old), str(new)] for name, (old, new) in settings.changed.items()}
    changed_counts = {"changed_news": counts["all"], "changed_settings": changes}
    made_by, totals, state = update_items(lake, settings, start, changed, keep=keep)
    nothing = {"changed_news": 0, "changed_settings": {}} | dict.fromkeys(totals, 0)
    note_run(lake, start, made_by.noted(), made_by.texts, found | nothing | state)
    return found | changed_counts | totals | state


def _count_and_check(read: DataFrame, file: Path) -> dict[str, int]:
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
            f"{file}: none of its {counts['lines']} lines holds a news id and a title. Expected {wanted} on each line; "
            "name the right file with --news"
        )
    repeated = counts["lines"] - counts["rejected"] - counts["news"]
    return {name: counts[name] for name in ("lines", "rejected", "news")} | {"repeated": repeated}


def news_of_log(impressions: DataFrame, histories: DataFrame, held: DataFrame) -> DataFrame:
    """NEWS rows, all text empty, of the shown or clicked ids that `held` (NEWS) lacks; its rows stay unchanged."""
    shown = impressions.select("source", F.explode("shown").alias("news_id"))
    clicked = histories.select("source", F.explode("clicks").alias("news_id"))
    named = shown.unionByName(clicked).distinct().join(held, [*NEWS.key], how="left_anti")
    empty = {column.name: F.lit("") for column in NEWS.columns if column.name not in NEWS.key}
    return named.withColumns(empty | {"text_sha256": F.lit(NO_TEXT_SHA256)})
