from __future__ import annotations

import numpy as np
import pytest

from jobs.synthetic.faults import GOOD, LATE_RATE, MALFORMED_RATE, REDELIVERED_RATE, Deliveries, deliver
from jobs.synthetic.messages import Messages
from tests.jobs.synthetic.test_messages import drawn


def delivered(impressions: int = 40_000) -> tuple[Messages, Deliveries]:
    _, messages = drawn(impressions)
    return messages, deliver(messages, np.random.default_rng(1))


def test_each_message_arrives_complete_at_least_once_and_never_before_it_is_sent() -> None:
    messages, found = delivered()
    good = found.message_D[found.fault_D == GOOD]
    assert set(good.tolist()) == set(range(len(messages.sent_M)))
    assert np.all(found.arrival_D >= messages.sent_M[found.message_D])
    assert np.all(np.diff(found.arrival_D) >= 0)


def test_lines_come_again_late_and_broken_at_the_stated_rates() -> None:
    messages, found = delivered()
    count, broken = len(messages.sent_M), np.count_nonzero(found.fault_D != GOOD)
    again = len(found.fault_D) - broken - count
    assert again / count == pytest.approx(REDELIVERED_RATE / (1 - REDELIVERED_RATE), abs=0.004)
    assert broken == found.counts["malformed"] == round(MALFORMED_RATE * len(messages.id_I)) + 1
    assert found.counts["redelivered"] == again
    assert found.counts["late"] / count == pytest.approx(LATE_RATE, abs=0.005)
