"""Benchmark: speed of prepare_news with all and with few new news, bytes per news, tokens kept by refinement."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jobs.bench.children import Measured, time_job
from jobs.bench.log_parts import copy_lake, remove_folder
from jobs.cli.command_line import run
from jobs.cli.progress import stage
from jobs.make_sample import make_sample
from pipelines.engine.local_spark import build_session
from pipelines.lake.notes import noted_sources
from pipelines.lake.tables import Lake
from pipelines.maintain.flow import state_of
from pipelines.news.refine import words_of
from pipelines.news.segmenting import Select
from pipelines.packing.tokens import COLUMNS, token_table
from schemas.errors import InputError
from schemas.news import FIELDS, ITEM_TOKENS, NEWS


def news(
    *,
    news: tuple[Path, ...] = (),
    work: Path = Path("runs/bench-news"),
    added: int = 100,
    repeats: int = 3,
    fields: tuple[str, ...] = FIELDS,
    select: Select = "text",
) -> dict[str, Any]:
    """Measure prepare_news on news files, each in separate lakes. Every run is a process; Spark's start is included.

    Parameters
    ----------
    news
        News files or folders as prepare_news takes them; by default those of the synthetic publisher.
    work
        Folder for lakes and samples.
    added
        Number of new news that the second run finds.
    repeats
        Measurements of each run.
    fields
        Fields that become segments: title, abstract, body.
    select
        Which part of a field that is too long is kept.
    """
    if added < 1 or repeats < 1:
        raise InputError(f"--added is {added} and --repeats {repeats}: use 1 or more")
    if not news:
        make_sample(out=work / "publisher", size="demo")
    options = [*(word for field in fields for word in ("--fields", field)), "--select", select]
    files = news or (work / "publisher",)
    return {_name(file): _figures(file, work / _name(file), options, added, repeats) for file in files}


def _figures(file: Path, work: Path, options: list[str], added: int, repeats: int) -> dict[str, Any]:
    """The figures of one news file."""
    lake, copy = work / "lake", work / "copy"
    first = _time_prepare("all news", [*options, "--news", file, "--lake", lake], partial(remove_folder, lake), repeats)
    with stage("bytes, words, new news"):
        tables = Lake(build_session("feedloop bench"), str(lake))
        more = _write_more(tables, work / "more" / "news.jsonl", added)
        facts = _word_count(tables) | _stored_bytes(tables, first.summary["news"])
    again = [*options, "--news", more, "--lake", copy]
    second = _time_prepare(f"{added} news more", again, partial(copy_lake, lake, copy), repeats)
    summary = first.summary
    return {
        "news": summary["news"],
        "news_per_second": round(summary["news"] / first.seconds),
        "seconds": first.every,
        "seconds_with_few_new": second.every,
        "touched_with_few_new": {name: second.summary[name] for name in ("new_items", "retokenised_items")},
        "segments": summary["segments"],
        "refined_segments": summary["refined_segments"],
        "tokens_before": summary["full_tokens"],
        "tokens_after": summary["tokens"],
        "kept": round(summary["tokens"] / summary["full_tokens"], 4),
        **facts,
    }


def _time_prepare(words: str, options: Sequence[object], before: Callable[[], object], repeats: int) -> Measured:
    return time_job(words, "jobs.prepare_news", options, before, repeats=repeats, start=0.0)


def _stored_bytes(lake: Lake, count: int) -> dict[str, Any]:
    """Bytes per news in Delta and in the token table of packed directories, and the shares of padding."""
    made = _token_settings(lake)
    table = token_table(lake.read(ITEM_TOKENS).select(*COLUMNS).toArrow(), vocabulary=made["vocabulary"])
    sizes = {each.name: state_of(lake, each)["bytes"] for each in (NEWS, ITEM_TOKENS)}
    sizes["token_table"] = sum(array.nbytes for array in table.arrays().values())
    width = made["tokens_per_segment"] * len(table.segment_field_S)
    return {
        "bytes_per_news": {name: round(size / count, 1) for name, size in sizes.items()},
        "padding_stored": float(np.mean(table.token_values == made["pad_id"])),
        "padding_at_full_width": round(1 - len(table.token_values) / width, 4),
    }


def _word_count(lake: Lake) -> dict[str, int]:
    """Words and punctuation marks in the fields that became segments."""
    rows = lake.read(NEWS).select(*_token_settings(lake)["fields"]).toLocalIterator()
    return {"words": sum(len(words_of(text)) for row in rows for text in row)}


def _token_settings(lake: Lake) -> dict[str, Any]:
    """The tokenizer and settings that made the tokens."""
    (made,) = noted_sources(lake).values()  # the bench prepares one source
    return dict(made["tokens"])


def _write_more(lake: Lake, file: Path, count: int) -> Path:
    """Write a news file of `count` news that are new to the lake and about as long as its own."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8") as out:
        for row in lake.read(NEWS).orderBy("source", "news_id").limit(count).collect():
            texts = {field: f"More: {row[field]}" for field in FIELDS if row[field]}
            out.write(json.dumps({"news_id": f"{row['news_id']}-more"} | texts) + "\n")
    return file


def _name(file: Path) -> str:
    return file.resolve().name.split(".")[0]


if __name__ == "__main__":
    raise SystemExit(run(news))
