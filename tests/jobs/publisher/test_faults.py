from __future__ import annotations

import json
import random

import numpy as np
import pytest

from jobs.publisher.faults import FAULTS, MALFORMED_RATE, REDELIVERED_RATE, broken, deliver, reason_of
from schemas.raw_log import REJECT_REASONS

LINE = json.dumps(
    {
        "impression_id": "i1",
        "user_id": "u1",
        "time": "2026-03-02T09:15:31Z",
        "history": [],
        "shown": ["n1", "n2"],
        "clicked": ["n2"],
    }
).encode()


def test_every_fault_has_a_reason_that_ingest_knows() -> None:
    assert {reason_of(fault) for fault in range(len(FAULTS))} <= set(REJECT_REASONS)


def test_a_line_cut_off_anywhere_is_no_json() -> None:
    for seed in range(300):
        cut = broken(LINE, 0, random.Random(seed))
        assert LINE.startswith(cut)
        with pytest.raises(json.JSONDecodeError):
            json.loads(cut)


def test_wrong_bytes_anywhere_are_not_utf8() -> None:
    for seed in range(300):
        with pytest.raises(UnicodeDecodeError):
            broken(LINE, 1, random.Random(seed)).decode("utf-8")


def test_no_broken_line_holds_a_line_break() -> None:
    assert not any(b"\n" in broken(LINE, fault, random.Random(seed)) for fault in range(6) for seed in range(50))


def test_each_impression_arrives_whole_at_least_once_and_copies_come_at_the_stated_rates() -> None:
    count = 50_000
    found = deliver(np.arange(count), np.random.default_rng(1))
    good = found.impression_D[found.fault_D < 0]
    assert set(good.tolist()) == set(range(count))
    assert len(good) / count - 1 == pytest.approx(REDELIVERED_RATE / (1 - REDELIVERED_RATE), abs=0.004)
    assert np.count_nonzero(found.fault_D >= 0) == round(MALFORMED_RATE * count)
    assert np.all(np.diff(found.arrival_D) >= 0)
    assert np.all(found.arrival_D >= found.impression_D)  # nothing arrives before it happened


def test_even_a_small_log_has_every_fault() -> None:
    found = deliver(np.arange(20), np.random.default_rng(1))
    assert set(found.fault_D.tolist()) == {-1, *range(len(FAULTS))}
