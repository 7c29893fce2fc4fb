"""Splits off the evaluation impressions that choose a checkpoint, so that the others evaluate it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.errors import InputError
from trainer.data.evaluation import labelled

Evaluation: TypeAlias = pa.Table  # columns as schemas.trajectory.EVALUATION
_DRAW_BYTES = 6  # an integer that JSON represents exactly


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The impressions that choose: shown from `first` to `last`, to users whose draw is `users_up_to` or less."""

    rule: str
    """as run.validate"""
    first: str
    last: str
    users_up_to: int | None
    """None: any user"""
    impressions: int

    def __post_init__(self) -> None:
        integers = type(self.impressions) is int and type(self.users_up_to) in (int, type(None))
        if not integers or not all(isinstance(word, str) for word in (self.rule, self.first, self.last)):
            raise TypeError(f"a choice by {str(self)[:80]}")
        np.datetime64(self.first), np.datetime64(self.last)  # ValueError if they are no times

    def of(self, table: pa.Table) -> NDArray[np.bool_]:
        """Mask (I,) of these impressions in a table EVALUATION, of any packed directory."""
        time_I = _times(table)
        chose_I = (time_I >= np.datetime64(self.first)) & (time_I <= np.datetime64(self.last))
        if self.users_up_to is not None:
            chose_I &= _draws(table) <= self.users_up_to
        return np.asarray(chose_I & table["clicked"].is_valid().to_numpy(), np.bool_)


def rule_of(validate: str) -> tuple[str, float]:
    """('time' or 'user', share); ValueError if `validate` is neither."""
    by, _, share = validate.partition(":")
    try:
        found = float(share)
    except ValueError:
        found = 0.0
    if by not in ("time", "user") or not 0 < found < 1:
        raise ValueError(
            f"run.validate is {validate!r}: use time:SHARE (the earliest impressions) or user:SHARE (all impressions "
            "of some users), with a share between 0 and 1, such as user:0.2"
        )
    return by, found


def validation_of(evaluation: pa.Table, validate: str) -> tuple[pa.Table, Choice]:
    """The labelled impressions that choose, and the Choice that distinguishes them from those that evaluate.

    The same impressions always give the same result. InputError if one of the two parts is empty.
    """
    table, (by, share) = labelled(evaluation), rule_of(validate)
    if not len(table):
        raise InputError("no evaluation impression carries click marks, so that none can choose. " + _WAYS_OUT)
    time_I = _times(table)
    users_up_to, last = None, time_I.max()
    if by == "user":
        draw_U = np.unique(_draws(table))
        users_up_to = int(draw_U[_count(share, len(draw_U)) - 1])
    else:
        last = np.sort(time_I)[_count(share, len(time_I)) - 1]
    found = {"rule": validate, "first": str(time_I.min()), "last": str(last), "users_up_to": users_up_to}
    chose_I = Choice(**found, impressions=0).of(table)  # type: ignore[arg-type]
    if chose_I.all():
        raise InputError(
            f"run.validate {validate} takes all {len(table)} labelled impressions, and none is left to "
            f"evaluate. {_WAYS_OUT}"
        )
    return table.filter(pa.array(chose_I)), Choice(**found, impressions=int(chose_I.sum()))  # type: ignore[arg-type]


def without_validation(evaluation: Evaluation, choices: Sequence[Choice]) -> tuple[Evaluation, int]:
    """(the evaluation impressions without those of the choices, how many these are)."""
    chose_I = np.logical_or.reduce(
        [np.zeros(len(evaluation), np.bool_), *(choice.of(evaluation) for choice in choices)]
    )
    return evaluation.filter(pa.array(~chose_I)), int(chose_I.sum())


def all_of(evaluation: pa.Table) -> Choice:
    """The choice by all labelled impressions, as older versions of feedloop made it."""
    time_I = _times(labelled(evaluation))
    first, last = str(time_I.min()), str(time_I.max())
    return Choice(rule="all", first=first, last=last, users_up_to=None, impressions=len(time_I))


_WAYS_OUT = "Set another run.validate, or run.early_stop_epochs = 0, so that nothing is chosen"


def _count(share: float, total: int) -> int:
    return max(1, round(share * total))


def _times(table: pa.Table) -> NDArray[np.datetime64]:
    return np.asarray(table["time"].cast(pa.timestamp("us")).to_numpy(), "datetime64[us]")


def _draws(table: pa.Table) -> NDArray[np.int64]:
    """A random number for each row's user, which depends on the user id alone."""
    encoded = table["user_id"].combine_chunks().dictionary_encode()
    draw_U = [
        int.from_bytes(hashlib.blake2b(user.encode(), digest_size=_DRAW_BYTES, person=b"validate").digest())
        for user in encoded.dictionary.to_pylist()
    ]
    return np.asarray(np.array(draw_U, np.int64)[encoded.indices.to_numpy(zero_copy_only=False)], np.int64)
