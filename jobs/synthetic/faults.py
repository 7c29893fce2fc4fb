"""At-least-once delivery: which messages arrive late, again, or with an additional broken copy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jobs.synthetic.malformed import kinds_of
from jobs.synthetic.messages import Messages
from jobs.synthetic.sizes import Ints

REDELIVERED_RATE = 0.04  # each delivery of a line is followed by another one with this chance: the same bytes, later
MALFORMED_RATE = 0.01  # extra lines that hold no usable impression, per impression
LATE_RATE = 0.05  # good lines that are delayed, so that they are out of order
LATE_SECONDS = 2 * 3600.0  # mean delay of a late or broken line
AGAIN_SECONDS = 6 * 3600.0  # mean time until a line is delivered again
GOOD = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliveries:
    """D lines in order of arrival: the message of each, and its fault as a row of KINDS of malformed.py or GOOD."""

    message_D: Ints
    fault_D: Ints
    arrival_D: Ints  # seconds from START
    counts: dict[str, int]


def deliver(messages: Messages, rng: np.random.Generator, *, first: bool = True) -> Deliveries:
    """Every message arrives once; some arrive again, and some are followed by a broken copy.

    `first`: the first part of a sample, which also has the lines that occur once per sample.
    """
    count = len(messages.sent_M)
    late_M = rng.random(count) < LATE_RATE
    arrival_M = messages.sent_M + np.where(late_M, rng.exponential(LATE_SECONDS, count), 0).astype(np.int64)
    again_D = np.repeat(np.arange(count), rng.geometric(1 - REDELIVERED_RATE, count) - 1)
    kind_D = kinds_of(round(MALFORMED_RATE * len(messages.id_I)), first=first)
    broken_D = rng.integers(count, size=len(kind_D))
    message_D = np.concatenate([np.arange(count), again_D, broken_D])
    fault_D = np.full(len(message_D), GOOD)
    fault_D[count + len(again_D) :] = kind_D
    wait_D = np.concatenate(
        [
            np.zeros(count),
            rng.exponential(AGAIN_SECONDS, len(again_D)),
            rng.exponential(LATE_SECONDS, len(broken_D)),
        ]
    )
    arrival_D = arrival_M[message_D] + wait_D.astype(np.int64)
    order = np.argsort(arrival_D, kind="stable")
    return Deliveries(
        message_D=message_D[order],
        fault_D=fault_D[order],
        arrival_D=arrival_D[order],
        counts={
            "redelivered": len(again_D),
            "late": int(np.count_nonzero(late_M)),
            "malformed": len(broken_D),
        },
    )
