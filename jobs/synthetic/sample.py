"""Writes a complete sample: news, log files by time of arrival, the true impressions and a README."""

from __future__ import annotations

import gzip
import json
import random
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from jobs.synthetic.counts import SampleCounts
from jobs.synthetic.newsroom import News
from jobs.synthetic.sections import Section, draw_news, draw_sections
from jobs.synthetic.sizes import DAY, DAYS, START, Size, as_times
from jobs.synthetic.topics import TOPICS
from schemas.errors import InputError

PUBLISHER_VERSION = 2  # raised when the same seed gives other bytes
COUNTS_FILE = "truth/counts.json"
_GZIPPED_DAYS = (1, 4)  # where a day is one file
_GZIP_LEVEL = 3  # the highest takes longer than drawing the entire sample
_NEVER = 1 << 62

_README = """\
SYNTHETIC DATA. Nothing here was written, read or clicked by a person: names, places, events and users are invented.

Drawn by feedloop's publisher (jobs/make_sample.py), version {publisher_version}, size {size}, seed {seed}:
the same three give the same bytes.

news.jsonl     {news} news on {topics} subcategories of {categories} categories, put together from templates and
               word lists.
logs/          {lines} lines, {files} files by time of arrival: {impressions} impressions of {users} users over
               {days} days from {start}, {merged} more lines about them, {rejected} malformed lines.
truth/         impressions.parquet: every impression once, as all its lines together tell of it, with the probability
               behind each click mark. counts.json: lines = impressions + merged + rejected, the oracle's AUC.

Faults, with rate and count:
{faults}

How it was drawn: each user has two to four favourite subcategories. What a page shows is drawn by Zipf appeal, decaying
with the news' age, and partly from the favourites. Each shown news is clicked, independently of the others, with
probability sigmoid(a * affinity + b * log appeal + c). A line's history is every click its user made before, the ones
before the log included; those were drawn by the same rule from older news.
"""


def write_complete(out: Path, size: Size, seed: int, name: str, logs_only: bool) -> dict[str, Any]:
    """`write_sample` next to `out`, then one rename, so that a run that dies leaves nothing under that name."""
    parent = out.absolute().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=parent))
    except OSError as error:
        raise InputError(f"{parent} cannot be written to ({error}). Name another folder with --out") from error
    try:
        partial.chmod(0o755)
        counts = write_sample(partial, size, seed, name=name, logs_only=logs_only)
        partial.rename(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return counts


def write_sample(folder: Path, size: Size, seed: int, *, name: str, logs_only: bool = False) -> dict[str, Any]:
    """Fill an empty folder; returns the contents of counts.json, with `name` as its size.

    With `logs_only` there are no news, no table of the truth and no oracle; the logs are the same bytes.
    """
    for part in ("logs", "truth"):
        (folder / part).mkdir()
    news, totals = draw_news(size, seed, texts=not logs_only), SampleCounts()
    if not logs_only:
        _write_news_file(folder / "news.jsonl", news)
    truth_file = None if logs_only else folder / "truth/impressions.parquet"
    sections = _gathered(draw_sections(size, news, seed, truth=not logs_only), totals, truth_file)
    files = _write_logs(folder / "logs", sections, size.files_a_day, random.Random(f"damage {seed}"))
    head = {"publisher_version": PUBLISHER_VERSION, "seed": seed, "size": name, "logs_only": logs_only}
    counts = {**head, **totals.counts(), "news": size.news, "files": files}
    (folder / "README.txt").write_text(_label(counts, size), encoding="utf-8")
    (folder / COUNTS_FILE).write_text(json.dumps(counts, indent=1) + "\n", encoding="utf-8")
    return counts


def _gathered(sections: Iterator[Section], totals: SampleCounts, truth_file: Path | None) -> list[Section]:
    """The sections without their truth, which is written as one row group each."""
    kept: list[Section] = []
    with ExitStack() as stack:
        for section in sections:
            totals.add(section)
            if truth_file is not None and section.truth is not None:
                if not kept:
                    writer = pq.ParquetWriter(truth_file, section.truth.schema, store_schema=False)
                    stack.enter_context(writer)
                writer.write_table(section.truth)
            kept.append(replace(section, truth=None, auc_I=None))
    return kept


def _write_news_file(path: Path, news: News) -> None:
    order = np.argsort(news.published_V, kind="stable")
    times = np.datetime_as_string(as_times(news.published_V), timezone="UTC")
    with path.open("w", encoding="utf-8") as file:
        for row in order.tolist():
            topic, story = TOPICS[news.topic_V[row]], news.stories[row]
            fields = {
                "news_id": news.id_V[row].decode(),
                "category": topic.category,
                "subcategory": topic.subcategory,
                "title": story.title,
                "abstract": story.abstract,
                "body": story.body,
                "published_at": str(times[row]),
            }
            file.write(json.dumps(fields, ensure_ascii=False) + "\n")


def _write_logs(folder: Path, sections: list[Section], files_a_day: int, pick: random.Random) -> int:
    """Write each file's lines in order of arrival; returns the number of files."""
    files = list(_spans(files_a_day))
    for name, begin, end in files:
        parts = [section.lines(begin, end, pick) for section in sections]
        lines = [line for _, part in parts for line in part]
        order = np.argsort(np.concatenate([arrival_D for arrival_D, _ in parts]), kind="stable")
        text = b"".join(lines[at] for at in order.tolist())
        text += b"\n" * text.endswith(b"\r")  # a file must not end in half of a line end
        packed = gzip.compress(text, _GZIP_LEVEL, mtime=0) if name.endswith(".gz") else text  # no time stamp in it
        (folder / name).write_bytes(packed)
    return len(files)


def _spans(files_a_day: int) -> Iterator[tuple[str, int, int]]:
    """(file name, first second, end). Lines that arrive after the last day are in that day's file, or in one more."""
    edges = range(0, DAYS * DAY + 1, DAY // files_a_day)
    full_days = files_a_day == 1
    for begin, end in pairwise(edges):
        last = full_days and end == DAYS * DAY
        gzipped = full_days and begin // DAY in _GZIPPED_DAYS
        yield f"{_moment(begin, full_days)}.jsonl{'.gz' * gzipped}", begin, _NEVER if last else end
    if not full_days:
        yield f"{_moment(DAYS * DAY, full_days)}.jsonl", DAYS * DAY, _NEVER


def _moment(second: int, full_days: bool) -> str:
    return str(as_times(np.array([second]))[0])[: 10 if full_days else 13]


def _label(counts: dict[str, Any], size: Size) -> str:
    topics = TOPICS[: size.topics]
    faults = "\n".join(f"{name:<20} {fault['rate']:<6} {fault['count']:>9}" for name, fault in counts["faults"].items())
    text = _README.format(
        **{**counts, "faults": faults},
        topics=len(topics),
        categories=len({topic.category for topic in topics}),
        days=DAYS,
        start=str(START)[:10],
    )
    return f"{text}\nLOGS ONLY: no news.jsonl, no impressions.parquet.\n" if counts["logs_only"] else text
