from __future__ import annotations

import random

import pytest
from pyspark.sql import SparkSession

from jobs.synthetic.malformed import KINDS, broken, kinds_of, reason_of
from pipelines.ingest.parse.lines import with_parsed
from schemas.raw_log import REJECT_REASONS
from tests.builders import json_line, raw_logs
from tests.jobs.synthetic.conftest import Sample
from tests.jobs.synthetic.reference import reason_against

LINES = (
    json_line(),
    json_line(shown=["n3", "n4", "n3"], time="2026-03-02T14:45:31+05:30"),
    json_line(without=["clicked"], device="phone", position={"slot": 1}),
    json_line() + "\r\n",
    json_line() + "\r",
)


@pytest.mark.parametrize("kind", range(len(KINDS)), ids=[damage.__name__ for _, damage in KINDS])
def test_each_kind_of_damage_is_refused_for_its_reason_wherever_it_strikes(kind: int) -> None:
    assert reason_of(kind) in REJECT_REASONS
    for line in LINES:
        assert reason_against(line.encode()) is None
        for seed in range(60):
            damaged = broken(line.encode(), kind, random.Random(seed))
            (text,) = damaged.splitlines()  # one line, whatever ends lines
            assert damaged.endswith(b"\n")
            assert reason_against(text) == reason_of(kind), text


def test_the_same_pick_gives_the_same_damage() -> None:
    for kind in range(len(KINDS)):
        once, again = (broken(LINES[0].encode(), kind, random.Random(7)) for _ in range(2))
        assert once == again


def test_even_a_small_log_has_every_kind_and_a_large_one_has_the_large_kind_once() -> None:
    assert sorted(kinds_of(3, first=True).tolist()) == list(range(len(KINDS)))
    many = kinds_of(2_100, first=True).tolist()
    assert many.count(len(KINDS) - 1) == 1
    assert min(many.count(kind) for kind in range(len(KINDS) - 1)) == 100
    assert len(KINDS) - 1 not in kinds_of(2_100, first=False).tolist()


def test_ingest_gives_each_line_the_reason_that_the_publisher_states(spark: SparkSession, tiny: Sample) -> None:
    damaged = [
        broken(line.encode(), kind, random.Random(seed)).rstrip(b"\r\n")
        for kind in range(len(KINDS) - 1)  # the last one is a large line, which `tiny` has
        for line in LINES
        for seed in range(6)
    ]
    lines = damaged + tiny.lines
    found = with_parsed(raw_logs(spark, *lines), "jsonl").select("position", "reason").collect()
    assert len(found) == len(lines)
    for row in found:
        assert row["reason"] == reason_against(lines[row["position"]]), lines[row["position"]][:300]
