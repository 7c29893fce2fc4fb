"""Draws the messages of each impression: one as a rule, more for late clicks, moved times or a second collector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jobs.synthetic.clicks import Log
from jobs.synthetic.identities import AGAIN_RATE, SHARED_RATE, reused_ids, second_ids
from jobs.synthetic.sizes import DAY, DAYS, Bools, Ids, Ints, some_of

HOUR = 3600
LATE_CLICKS_RATE = 0.04  # impressions first logged with some click marks, none, or no marks at all; later with all
MOVED_RATE = 0.03  # impressions logged once more with a time that is seconds, minutes or hours later
BRIDGED_RATE = 0.003  # impressions logged at three times, 20 h apart, the middle one last
SECOND_RATE = 0.03  # impressions that a second collector saw, under an id of its own
TWICE_RATE = 0.02  # messages that list one of the shown news twice
STYLE_RATE = 0.04  # messages that are written in another way: zones, fractions, line ends, more fields
RATES = {
    "late_clicks": LATE_CLICKS_RATE,
    "moved_times": MOVED_RATE,
    "bridged_times": BRIDGED_RATE,
    "second_collector": SECOND_RATE,
    "shown_twice": TWICE_RATE,
    "other_style": STYLE_RATE,
    "reused_ids": AGAIN_RATE,
    "ids_of_other_users": SHARED_RATE,
}
ALL, HALF, NONE, UNLABELLED = range(4)  # which click marks a message has
STYLES = 8  # lines.py knows them; 0 is how most lines are written
STYLES_OF_ALL = 7  # without the last one, lines that end in a bare carriage return, which few readers support
_STEP = 20 * HOUR  # between the times of a bridged impression: within 24 h, twice of it is not
_WITHIN = 20 * HOUR  # most that a moved time is late
_SLOW_CLICK = (2.0 * HOUR, 1.5)  # median and spread of the wait for late clicks: minutes to days


@dataclass(frozen=True, slots=True, kw_only=True)
class Messages:
    """M different lines and when each is sent; the ids of the I impressions."""

    id_I: Ids
    second_id_I: Ids  # the second collector's; empty where there is none
    impression_M: Ints
    second_M: Bools  # sent by the second collector
    shift_M: Ints  # seconds by which the logged time is later than the true one
    marks_M: Ints
    bare_M: Bools  # without the history
    twice_M: Bools  # lists one of the shown news twice
    style_M: Ints
    sent_M: Ints  # seconds from START
    counts: dict[str, int]  # of each fault


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """Messages of one kind; defaults are those of a plain line."""

    impression: Ints
    second: bool = False
    shift: Ints | int = 0
    marks: Ints | int = ALL
    bare: Bools | bool = False
    wait: Ints | int = 0  # seconds from the page view on; no message is sent before the time that it states


def draw_messages(log: Log, rng: np.random.Generator, *, first_impression: int = 0, styles: int = STYLES) -> Messages:
    """All messages of a log. Each impression has one with its own id, its true time and all its clicks."""
    count = len(log.time_I)
    every_I = np.ones(count, np.bool_)
    late_I, second_I = some_of(every_I, LATE_CLICKS_RATE, rng), some_of(every_I, SECOND_RATE, rng)
    bridged_I = some_of(log.time_I + 2 * _STEP < DAYS * DAY, BRIDGED_RATE, rng)
    distance_I = np.where(
        rng.random(count) < 0.8, 1 + rng.exponential(90, count), rng.uniform(1, _WITHIN, count)
    ).astype(np.int64)
    moved_I = some_of(log.time_I + distance_I < DAYS * DAY, MOVED_RATE, rng)
    parts = [
        *_first_messages(log, late_I, np.where(moved_I, distance_I, 0), rng),
        *_bridges(np.flatnonzero(bridged_I), rng),
        _of_second_collector(np.flatnonzero(second_I), rng),
    ]
    ids, reused = reused_ids(log, rng)
    own = np.concatenate([part.impression for part in parts])
    twice, style = rng.random(len(own)) < TWICE_RATE, rng.integers(1, styles, len(own))
    styled = rng.random(len(own)) < STYLE_RATE
    sent = log.time_I[own] + np.maximum(_column(parts, "shift"), _column(parts, "wait"))
    shift = _apart(log, own, _column(parts, "shift"))
    moved_later_I = np.bincount(own, weights=shift > 0) > 0
    moved_I, bridged_I = moved_I & moved_later_I, bridged_I & moved_later_I
    found = {"late_clicks": late_I, "moved_times": moved_I, "bridged_times": bridged_I, "second_collector": second_I}
    return Messages(
        id_I=ids,
        second_id_I=second_ids(log, second_I, rng, first_impression=first_impression),
        impression_M=own,
        second_M=_column(parts, "second").astype(np.bool_),
        shift_M=shift,
        marks_M=_column(parts, "marks"),
        bare_M=_column(parts, "bare").astype(np.bool_),
        twice_M=twice,
        style_M=np.where(styled, style, 0),
        sent_M=sent,
        counts={name: int(np.count_nonzero(at)) for name, at in found.items()}
        | {"shown_twice": int(np.count_nonzero(twice)), "other_style": int(np.count_nonzero(styled))}
        | reused,
    )


def _first_messages(log: Log, late_I: Bools, distance_I: Ints, rng: np.random.Generator) -> list[_Part]:
    """One message of each impression, and those that complete it: the missing clicks, the other time.

    The true time is in the first message or in the one after it.
    """
    count = len(late_I)
    swapped_I = rng.random(count) < 0.5
    first_shift_I = np.where(swapped_I, distance_I, 0)
    late, moved = np.flatnonzero(late_I), np.flatnonzero(distance_I)
    median, spread = _SLOW_CLICK
    return [
        _Part(
            impression=np.arange(count),
            shift=first_shift_I,
            marks=np.where(late_I, rng.integers(HALF, UNLABELLED + 1, count), ALL),
            wait=rng.integers(0, 5, count),
        ),
        _Part(impression=late, wait=60 + rng.lognormal(np.log(median), spread, len(late)).astype(np.int64)),
        _Part(
            impression=moved,
            shift=(distance_I - first_shift_I)[moved],
            wait=distance_I[moved] + rng.exponential(HOUR, len(moved)).astype(np.int64),
        ),
    ]


def _bridges(bridged: Ints, rng: np.random.Generator) -> list[_Part]:
    """Two more messages: one too late to belong to the first, then the one between them, which joins both."""
    wait = 2 * _STEP + rng.exponential(HOUR, len(bridged)).astype(np.int64)
    return [_Part(impression=bridged, shift=2 * _STEP), _Part(impression=bridged, shift=_STEP, wait=wait)]


def _of_second_collector(seen: Ints, rng: np.random.Generator) -> _Part:
    """The same user, second and shown news under another id, often with fewer marks or no history; some are late."""
    late = np.where(rng.random(len(seen)) < 0.2, rng.exponential(6 * HOUR, len(seen)), 0)
    return _Part(
        impression=seen,
        second=True,
        marks=rng.choice([ALL, HALF, NONE, UNLABELLED], len(seen), p=[0.4, 0.2, 0.2, 0.2]),
        bare=rng.random(len(seen)) < 0.5,
        wait=rng.integers(0, 5, len(seen)) + late.astype(np.int64),
    )


def _column(parts: list[_Part], name: str) -> Ints:
    columns = (np.broadcast_to(np.asarray(getattr(part, name)), part.impression.shape) for part in parts)
    return np.concatenate([column.astype(np.int64) for column in columns])


def _apart(log: Log, own_M: Ints, shift_M: Ints) -> Ints:
    """The shifts, without those that would log an impression at a second of another one of its user.

    Two page views of one user in one second with the same news are one impression by rule; here they never are one.
    """
    count = len(log.time_I)
    key_M = log.user_I[own_M] * (2 * DAYS * DAY) + log.time_I[own_M] + shift_M
    logged = np.unique(key_M * count + own_M) // count  # each second of a user as often as it has impressions
    shared = logged[1:][logged[1:] == logged[:-1]]
    meets_I = np.zeros(count, np.bool_)
    meets_I[own_M[(shift_M > 0) & np.isin(key_M, shared)]] = True
    return np.where(meets_I[own_M], 0, shift_M)
