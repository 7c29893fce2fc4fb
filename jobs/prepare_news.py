"""A publisher's news file, or its log -> news and token segments under permanent item rows in the lake."""

from __future__ import annotations

from typing import Any

from jobs.cli.command_line import run
from jobs.cli.progress import console
from pipelines.delta.table_ddl import TABLES_OF
from pipelines.engine.choice import EngineConfig, session_for
from pipelines.lake.opening import checked_source, open_lake
from pipelines.news.flow import prepare_logged_news
from pipelines.news.flow import prepare_news as prepare
from pipelines.news.readers import news_file
from pipelines.news.segmenting import NewsConfig
from pipelines.news.settings import resolve_settings
from pipelines.session import plain_errors
from schemas.impression import HISTORIES, IMPRESSIONS
from schemas.storage.paths import path_of
from schemas.storage.place import Place

_STAGE = "prepare_news"
_LOGGED = (IMPRESSIONS, HISTORIES)


def prepare_news(
    *,
    lake: Place,
    news: Place | None = None,
    source: str = "publisher",
    engine: EngineConfig = EngineConfig(),  # noqa: B008 - frozen
    text: NewsConfig = NewsConfig(),  # noqa: B008 - frozen
) -> dict[str, Any]:
    """Bring the news tables up to date with a news file; only new and changed text is tokenised.

    Parameters
    ----------
    lake
        Folder of the Delta tables.
    news
        news.jsonl or MIND's news.tsv, plain or compressed (.gz, .zst, .bz2, .lz4, .xz), or the folder that holds it;
        or a .tsv of id, category, subcategory, title, abstract and body. Left out, for a publisher that gives no
        text: each news that its ingested log names is an item without text.
    source
        Which publisher the news are from.
    engine
        What runs the job: this process alone, or Apache Spark.
    text
        How text becomes tokens, and which items stand for others. What is left out stays as the source's items were
        made before; what is named and differs makes all of them anew, and is shown before.
    """
    text.segmenting()
    file = None if news is None else news_file(path_of(news))  # as what stands above, refused before Spark starts
    source = checked_source(source)
    with plain_errors():
        tables = open_lake(session_for("feedloop prepare_news", engine), lake, news)
        with tables.locked(_STAGE):
            read = (*TABLES_OF[_STAGE], *(_LOGGED if file is None else ()))
            before = tables.versions(read)
            for name, (old, new) in resolve_settings(tables, text, source=source).changed.items():
                console.print(f"  {source}: {name} was {old}, is {new}: all its items are made anew", style="yellow")
            if file is None:
                summary = prepare_logged_news(tables, text, source=source)
            else:
                summary = prepare(tables, file, text, source=source)
            return summary | tables.report(_STAGE, inputs=before, outputs=tables.versions(TABLES_OF[_STAGE]))


if __name__ == "__main__":
    raise SystemExit(run(prepare_news))
