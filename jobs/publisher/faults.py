"""At-least-once delivery: which lines arrive late, again, or as a broken copy beside the good one."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from jobs.publisher.sizes import Ints

REDELIVERED_RATE = 0.04  # each delivery of a line is followed by another one with this chance: the same bytes, later
MALFORMED_RATE = 0.01  # extra lines that hold no usable impression, per impression
LATE_RATE = 0.05  # good lines held up on their way, so that they stand out of order
LATE_SECONDS = 2 * 3600.0  # mean delay of a late or broken line
AGAIN_SECONDS = 6 * 3600.0  # mean time until a line is delivered again
_GOOD = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliveries:
    """D lines in order of arrival: which impression each tells of, and its fault as a row of FAULTS or -1."""

    impression_D: Ints
    fault_D: Ints
    arrival_D: Ints  # seconds from START


def deliver(time_I: Ints, rng: np.random.Generator) -> Deliveries:
    """Every impression arrives once; some arrive again, and some are followed by a broken copy."""
    count = len(time_I)
    delay_I = rng.uniform(0, 5, count) + np.where(
        rng.random(count) < LATE_RATE, rng.exponential(LATE_SECONDS, count), 0
    )
    arrival_I = time_I + delay_I.astype(np.int64)
    again_D = np.repeat(np.arange(count), rng.geometric(1 - REDELIVERED_RATE, count) - 1)
    broken_D = rng.choice(count, max(len(FAULTS), round(MALFORMED_RATE * count)), replace=True)
    impression_D = np.concatenate([np.arange(count), again_D, broken_D])
    fault_D = np.full(len(impression_D), _GOOD)
    fault_D[count + len(again_D) :] = np.arange(len(broken_D)) % len(FAULTS)  # every reason occurs
    wait_D = np.concatenate(
        [
            np.zeros(count),
            rng.exponential(AGAIN_SECONDS, len(again_D)),
            rng.exponential(LATE_SECONDS, len(broken_D)),
        ]
    )
    arrival_D = arrival_I[impression_D] + wait_D.astype(np.int64)
    order = np.argsort(arrival_D, kind="stable")
    return Deliveries(impression_D=impression_D[order], fault_D=fault_D[order], arrival_D=arrival_D[order])


def broken(line: bytes, fault: int, pick: random.Random) -> bytes:
    """The line with the fault in it: no reader may take it for an impression."""
    return FAULTS[fault][1](line, pick)


def reason_of(fault: int) -> str:
    """The word of REJECT_REASONS for a fault."""
    return FAULTS[fault][0]


def _cut_off(line: bytes, pick: random.Random) -> bytes:
    return line[: pick.randrange(1, len(line) - 1)]  # its brace never closes


def _wrong_bytes(line: bytes, pick: random.Random) -> bytes:
    place = pick.randrange(2, len(line) - 2)
    return line[:place] + pick.choice((b"\xff", b"\xfe\xff", b"\xc0\xaf")) + line[place:]  # never UTF-8, anywhere


def _without_field(line: bytes, pick: random.Random) -> bytes:
    fields = json.loads(line)
    del fields[pick.choice(("impression_id", "user_id", "time", "shown"))]
    return _dumped(fields)


def _impossible_time(line: bytes, pick: random.Random) -> bytes:
    times = (
        "2026-02-30T09:15:31Z",
        "2026-13-02T09:15:31Z",
        "2026-03-02T27:15:31Z",
        "0000-00-00T00:00:00Z",
        "yesterday",
    )
    return _dumped({**json.loads(line), "time": pick.choice(times)})


def _nothing_shown(line: bytes, pick: random.Random) -> bytes:
    return _dumped({**json.loads(line), "shown": [], "clicked": []})


def _clicked_not_shown(line: bytes, pick: random.Random) -> bytes:
    fields = json.loads(line)
    clicked = pick.choice(fields["shown"])
    rest = [news for news in fields["shown"] if news != clicked]
    return _dumped({**fields, "shown": rest, "clicked": [clicked]})


def _dumped(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields).encode()


FAULTS: tuple[tuple[str, Callable[[bytes, random.Random], bytes]], ...] = (
    ("not_json", _cut_off),
    ("not_utf8", _wrong_bytes),
    ("missing_field", _without_field),
    ("bad_time", _impossible_time),
    ("nothing_shown", _nothing_shown),
    ("clicked_not_shown", _clicked_not_shown),
)
