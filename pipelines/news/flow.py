"""News: a publisher's news file, or its log -> NEWS, and ITEM_TOKENS for every news that is new or has changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipelines.engine.scratch import Keep
from pipelines.lake.tables import Lake
from pipelines.lake.token_notes import noted_sources
from pipelines.news.affected import keep_changed
from pipelines.news.category_prefix import text_sha256
from pipelines.news.lines import COLUMNS
from pipelines.news.logged_ids import news_of_log
from pipelines.news.readers import news_file, read_news
from pipelines.news.segmenting import NewsConfig
from pipelines.news.settings import Settled, resolve_settings
from pipelines.news.unchanged import Start, note_end, of_file, start_of
from pipelines.news.update import held_rows, update_items, write_once
from schemas.errors import InputError
from schemas.impression import HISTORIES, IMPRESSIONS
from schemas.news import FIELDS, NEWS

_TEXTS = COLUMNS[1:]


def prepare_news(lake: Lake, news: Path, config: NewsConfig, *, source: str) -> dict[str, Any]:
    """Bring NEWS and ITEM_TOKENS up to date with the file; returns what was found and changed.

    The file that the source's last run read is not read again where all is as that run left it.
    """
    settled = resolve_settings(lake, config, source=source)  # what cannot be used must stop the run before any write
    file = news_file(news)
    start = start_of(lake, settled, of_file(file), source=source)
    if start.known is not None:
        return start.known
    with lake.scratch() as keep:
        read = keep(read_news(lake.spark, file).transform(per_news))
        found = _checked_counts(read, file)
        named = read.where("news_id IS NOT NULL").withColumns({"source": F.lit(source), "text_sha256": text_sha256()})
        return _update(lake, named, settled, start, keep=keep, found=found)


def prepare_logged_news(lake: Lake, config: NewsConfig, *, source: str) -> dict[str, Any]:
    """For a publisher that gives no text: every id that its log shows or clicks becomes an item without any.

    InputError where the source has news with text, for a news file is what was forgotten there.
    """
    settled = resolve_settings(lake, config, source=source)
    start = start_of(lake, settled, lake.versions((IMPRESSIONS, HISTORIES)), source=source)
    if start.known is not None:
        return start.known
    impressions, histories = (lake.read(table).where(F.col("source") == source) for table in (IMPRESSIONS, HISTORIES))
    _, held = held_rows(lake, NEWS)
    if not held.where((F.col("source") == source) & (F.concat(*FIELDS) != "")).isEmpty():
        raise InputError(f"{lake.root}: {source} has news with text. Name its news file with --news")
    with lake.scratch() as keep:
        news = keep(news_of_log(impressions, histories, held))
        found = news.count()
        if not found and held.where(F.col("source") == source).isEmpty():
            raise InputError(
                f"{lake.root}: {source} has no impressions. Run ./feedloop ingest first, or name its --source"
            )
        made = _update(lake, news, settled, start, keep=keep, found={"news": 0})
        return made | {"news": found}


def per_news(lines: DataFrame) -> DataFrame:
    """One row per news id: the file's last line that names it. Lines without an id share one row; `lines` counts."""
    trimmed = F.trim("news_id")
    named = lines.withColumn("news_id", F.when(trimmed != "", trimmed))
    last = F.max_by(F.struct(*_TEXTS), "place").alias("last")
    return named.groupBy("news_id").agg(last, F.count("*").alias("lines")).select("news_id", "lines", "last.*")


def _update(
    lake: Lake, told: DataFrame, settled: Settled, start: Start, *, keep: Keep, found: dict[str, int]
) -> dict[str, Any]:
    """Write what NEWS lacks of `told` (its rows), tokenise what is new, and note what there is then.

    `found`: what a run says of its input, if it changes nothing.
    """
    before, held = held_rows(lake, NEWS)
    changed = keep(told.transform(keep_changed, held))
    counts = changed.agg(F.count("*").alias("all"), F.count("old_sha256").alias("stored")).collect()[0]
    if counts["all"]:
        write_once(lake, NEWS, changed, before, stored=counts["stored"] > 0)
    if start.stands and not counts["all"]:
        standing = {**start.noted["summary"], **found}
        note_end(lake, start, noted_sources(lake)[start.source], start.texts, standing)
        return standing
    changes = {name: [str(old), str(new)] for name, (old, new) in settled.changed.items()}
    made = found | {"changed_news": counts["all"], "changed_settings": changes}
    by, totals, standing = update_items(lake, settled, start, changed, keep=keep)
    nothing = {"changed_news": 0, "changed_settings": {}} | dict.fromkeys(totals, 0)
    note_end(lake, start, by.noted(), by.texts, found | nothing | standing)
    return made | totals | standing


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
