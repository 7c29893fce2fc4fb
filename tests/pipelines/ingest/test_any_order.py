"""The same lines in any order and any runs, any number of times: the same table as by a slow, simple reference."""

from __future__ import annotations

import gzip
import json
import random
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from jobs.make_sample import make_sample
from pipelines.histories import with_history
from pipelines.ingest.discover.sources import find_new, log_paths
from pipelines.ingest.flow import ingest_logs
from pipelines.lake.tables import Lake
from schemas.impression import HISTORIES, IMPRESSIONS
from schemas.raw_log import INGEST_RUNS
from tests.builders import ARRIVED, json_line, write_logs
from tests.jobs.synthetic.reference import impressions_of

RUNS = 3
COLUMNS = ("impression_id", "also_seen_as", "user_id", "time", "last_time", "shown", "clicked", "history")
# Seconds after midnight: one second, within 24 h, just within, just beyond, bridges of two gaps.
SECONDS = (0, 1, 600, 23 * 3600, 86_400, 86_401, 30 * 3600, 47 * 3600, 60 * 3600, 100 * 3600)


@st.composite
def line(draw: st.DrawFn) -> dict[str, Any]:
    """The fields of one line: few ids, times and lists, so that lines meet in every way."""
    shown = draw(st.sampled_from([["n1", "n2"], ["n2", "n1"], ["n3"], ["n1", "n2", "n3"]]))
    day, second = divmod(draw(st.sampled_from(SECONDS)), 86_400)
    return {
        "impression_id": draw(st.sampled_from("1234")),
        "time": f"2026-03-0{day + 1}T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}Z",
        "history": draw(st.sampled_from([[], ["a"], ["a", "b"], ["b", "c", "d"]])),
        "shown": shown,
        "clicked": draw(st.sampled_from([None, [], shown[:1], shown[-1:]])),
    }


@st.composite
def user(draw: st.DrawFn) -> list[tuple[dict[str, Any], list[int]]]:
    """Lines of one user, each with the runs that deliver it, one at least."""
    delivered = st.lists(st.integers(0, RUNS - 1), min_size=1, max_size=3)
    return draw(st.lists(st.tuples(line(), delivered), min_size=1, max_size=7))


def found_in(lake: Lake) -> list[dict[str, Any]]:
    found = with_history(lake.read(IMPRESSIONS), lake.read(HISTORIES)).select(*COLUMNS).collect()
    return sorted((row.asDict() for row in found), key=repr)


def expected(lines: list[bytes]) -> list[dict[str, Any]]:
    reference = [
        row | {name: row[name].replace(tzinfo=None) for name in ("time", "last_time")} for row in impressions_of(lines)
    ]
    return sorted(({name: row[name] for name in COLUMNS} for row in reference), key=repr)


def ingest_in_runs(lake: Lake, folder: Path, runs: list[list[bytes]]) -> None:
    for at, lines in enumerate(runs):
        if lines:
            logs = write_logs(folder, {f"{at}.jsonl": lines})
            find = partial(find_new, log_paths(logs, "auto", None), logs, None)
            ingest_logs(lake, find, source="publisher", arrived_at=ARRIVED)
    assert lake.read(INGEST_RUNS).where("lines != impressions + merged + rejected").count() == 0


@settings(
    max_examples=2,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)
@given(users=st.lists(user(), min_size=20, max_size=40), order=st.randoms(use_true_random=False))
def test_any_order_any_runs_any_repetition(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, users: list[Any], order: random.Random
) -> None:
    """Every user is a case of its own, and dozens go through the real tables at once."""
    runs: list[list[bytes]] = [[] for _ in range(RUNS)]
    for at, deliveries in enumerate(users):
        for fields, delivered in deliveries:
            without = ("clicked",) if fields["clicked"] is None else ()
            for run in delivered:
                runs[run].append(json_line(**fields, user_id=f"u{at}", without=without).encode())
    for lines in runs:
        order.shuffle(lines)
    folder = tmp_path_factory.mktemp("any")
    lake = Lake(spark, str(folder / "lake"))
    ingest_in_runs(lake, folder, runs)
    assert found_in(lake) == expected([line for lines in runs for line in lines])


def test_the_publishers_log_in_any_order_and_runs_gives_the_publishers_truth(
    spark: SparkSession, tmp_path: Path
) -> None:
    counts = make_sample(out=tmp_path / "sample", size="tiny")
    lines = _log_lines(tmp_path / "sample/logs")
    order = random.Random(7)
    lines += order.sample(lines, len(lines) // 5)
    order.shuffle(lines)
    cuts = [0, len(lines) // 6, len(lines) // 2, len(lines)]
    lake = Lake(spark, str(tmp_path / "lake"))
    ingest_in_runs(lake, tmp_path, [lines[begin:end] for begin, end in pairwise(cuts)])
    assert found_in(lake) == expected(lines)
    assert lake.read(IMPRESSIONS).count() == counts["impressions"]
    assert json.loads((tmp_path / "sample/truth/counts.json").read_text())["impressions"] == counts["impressions"]


def _log_lines(logs: Path) -> list[bytes]:
    texts = [gzip.decompress(p.read_bytes()) if p.suffix == ".gz" else p.read_bytes() for p in sorted(logs.iterdir())]
    return [line for text in texts for line in text.splitlines()]
