"""A whole sample on disk: news, log files by day of arrival, the truth and a label, in a folder that is complete."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from jobs.publisher.clicks import draw_log
from jobs.publisher.faults import Deliveries, broken, deliver
from jobs.publisher.lines import line_writer
from jobs.publisher.newsroom import News, write_news
from jobs.publisher.readers import draw_views, gather_readers
from jobs.publisher.sizes import DAY, DAYS, SIZES, START, Ints, SizeName, as_times
from jobs.publisher.topics import TOPICS
from jobs.publisher.truth import truth_counts, truth_table

PUBLISHER_VERSION = 1  # raised when the same seed gives other bytes
COUNTS_FILE = "truth/counts.json"
_GZIPPED_DAYS = (1, 4)
_GZIP_LEVEL = 3  # the highest takes longer than drawing the whole sample

_README = """\
SYNTHETIC DATA. Nothing here was written, read or clicked by a person: names, places, events and users are invented.

Drawn by feedloop's publisher (jobs/make_sample.py), version {version}, size {size}, seed {seed}:
the same three give the same bytes.

news.jsonl     {news} news on {topics} subcategories of {categories} categories, put together from templates and
               word lists.
logs/          {lines} lines, one file per day of arrival (two of them gzipped): {impressions} impressions of
               {users} users over {days} days from {start}, and the faults of at-least-once delivery:
               {merged} lines delivered again (rate {redelivered}), {rejected} malformed lines (rate {malformed}),
               late lines out of order (rate {late}).
truth/         impressions.parquet: every impression once, with the probability behind each click mark.
               counts.json: lines = impressions + merged + rejected, and the oracle's AUC.

How it was drawn: each user has two to four favourite subcategories. What a page shows is drawn by Zipf appeal, decaying
with the news' age, and partly from the favourites. Each shown news is clicked, independently of the others, with
probability sigmoid(a * affinity + b * log appeal + c). A line's history is every click its user made before, the ones
before the log included; those were drawn by the same rule from older news.
"""


def write_sample(folder: Path, size_name: SizeName, seed: int) -> dict[str, Any]:
    """Fill an empty folder; the counts come back as they stand in counts.json."""
    size = SIZES[size_name]
    news_rng, readers_rng, views_rng, log_rng, faults_rng = (
        np.random.default_rng(part) for part in np.random.SeedSequence(seed).spawn(5)
    )
    news, readers = write_news(size, news_rng), gather_readers(size, readers_rng)
    log = draw_log(draw_views(size, views_rng), news, readers, log_rng)
    deliveries = deliver(log.time_I, faults_rng)
    counts = {
        "publisher_version": PUBLISHER_VERSION,
        "seed": seed,
        "size": size_name,
        **truth_counts(log, deliveries),
        "news": size.news,
        "users": len(np.unique(log.user_I)),
    }
    for name in ("logs", "truth"):
        (folder / name).mkdir()
    _write_news_file(folder / "news.jsonl", news)
    pick = random.Random(int(faults_rng.integers(2**62)))
    _write_logs(folder / "logs", deliveries, line_writer(log, news, readers), pick)
    pq.write_table(truth_table(log, news, readers), folder / "truth/impressions.parquet")
    (folder / "README.txt").write_text(_label(counts), encoding="utf-8")
    (folder / COUNTS_FILE).write_text(json.dumps(counts, indent=1) + "\n", encoding="utf-8")
    return counts


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


def _write_logs(
    folder: Path, deliveries: Deliveries, lines_of: Callable[[Ints], list[bytes]], pick: random.Random
) -> None:
    """One file per day of arrival; what arrives after the last day still stands in its file."""
    day_D = np.minimum(deliveries.arrival_D // DAY, DAYS - 1)
    for day in range(DAYS):
        here = np.flatnonzero(day_D == day)
        lines = lines_of(deliveries.impression_D[here])
        fault_D = deliveries.fault_D[here]
        for at in np.flatnonzero(fault_D >= 0).tolist():
            lines[at] = broken(lines[at], int(fault_D[at]), pick)
        name = str(START + np.timedelta64(day, "D"))[:10] + ".jsonl"
        text = b"".join(line + b"\n" for line in lines)
        if day in _GZIPPED_DAYS:
            (folder / f"{name}.gz").write_bytes(gzip.compress(text, _GZIP_LEVEL, mtime=0))  # no time stamp in it
        else:
            (folder / name).write_bytes(text)


def _label(counts: dict[str, Any]) -> str:
    topics = TOPICS[: SIZES[counts["size"]].topics]
    return _README.format(
        **counts,
        **counts["rates"],
        version=PUBLISHER_VERSION,
        topics=len(topics),
        categories=len({topic.category for topic in topics}),
        days=DAYS,
        start=str(START)[:10],
    )
