"""A publisher's news file -> news and token segments under permanent item rows in the lake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jobs.config import run
from pipelines.news.flow import prepare_news as prepare
from pipelines.news.readers import news_file
from pipelines.news.tokenise import DEFAULT, Segmenting, load_tokenizer
from pipelines.session import build_session, plain_errors
from pipelines.tables import Lake, named


def prepare_news(
    *,
    news: Path,
    lake: str,
    source: str = "publisher",
    tokenizer: str = DEFAULT,
    tokens_per_segment: int = 32,
    fields: tuple[str, ...] = ("title",),
) -> dict[str, Any]:
    """Bring the news tables up to date with a news file; only new and changed text is tokenised.

    Parameters
    ----------
    news
        news.jsonl or MIND's news.tsv, plain or .gz, or the folder that holds it.
    lake
        Folder of the Delta tables.
    source
        Which publisher the news are from.
    tokenizer
        A tokenizer.json, a folder that holds one, or "minilm" for the language model that is installed with feedloop.
    tokens_per_segment
        Word pieces that a segment holds at most, [CLS] and [SEP] included.
    fields
        Which of title, abstract and body become segments.
    """
    name, text = load_tokenizer(tokenizer)
    segmenting = Segmenting(name=name, tokenizer_json=text, tokens_per_segment=tokens_per_segment, fields=fields)
    file = news_file(news)  # refused before Spark starts
    with plain_errors():
        return prepare(Lake(build_session("feedloop prepare_news"), str(lake)), file, segmenting, source=named(source))


if __name__ == "__main__":
    raise SystemExit(run(prepare_news))
