"""Checks ids, all of a batch at once; and turns numbers into ids.

A number is an id if it is an integer: 1541, 1541.0 and 1.541e3 are all '1541'. Any other number (1.5, 1e400), and a
number written as a fraction that is too large to be exact (from 2^53 on), is no id.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.ingest.parse.text_lists import Bools, Bytes, Ints, any_of, lengths, rows_of, spans

LONGEST_ID_BYTES = 256
FIRST_INEXACT = 1 << 53  # a double as large as this may stand for several integers
_FIRST, _LAST = ord("!"), ord("~")  # of printable ASCII
_BACKSLASH = 0x5C


class IdFaults(NamedTuple):
    """For each row: whether an id is missing, and whether one is bad."""

    none: Bools  # null, empty or blank
    bad: Bools  # holds a backslash, a control character or white space, or is too long


def faults_of_ids(ids: pa.Array) -> IdFaults:
    """The faults of one id in each row."""
    data, at = spans(ids)
    sizes = np.diff(at)
    none, bad = sizes == 0, sizes > LONGEST_ID_BYTES
    places = bad_letters(data)
    if len(places):
        marked = np.unique(rows_of(places, at))
        bad[marked] = True
        rest = pc.utf8_trim(ids.take(pa.array(marked)), " ")
        none[marked] = np.diff(spans(rest)[1]) == 0
    return IdFaults(none, bad)


def faults_of_lists(lists: pa.Array) -> IdFaults:
    """The faults of a list of ids in each row; a null list has no fault."""
    found, counts = faults_of_ids(lists.flatten()), lengths(lists)
    return IdFaults(*(any_of(marked, counts) if marked.any() else np.zeros(len(lists), np.bool_) for marked in found))


def bad_letters(data: Bytes) -> Ints:
    """The positions in UTF-8 of letters that no id may have: a backslash, or one of Unicode's categories Z and Cc."""
    odd = (data - _FIRST) > _LAST - _FIRST  # bytes wrap around
    if not odd.any() and not (data == _BACKSLASH).any():
        return np.empty(0, np.int64)
    places = np.flatnonzero((data < _FIRST) | (data == _LAST + 1) | (data == _BACKSLASH))
    high = np.flatnonzero(data > _LAST + 1)
    if len(high) == 0:
        return places
    return np.union1d(places, high[_is_bad(*(data[np.minimum(high + i, len(data) - 1)] for i in range(3)))])


def _is_bad(first: Bytes, second: Bytes, third: Bytes) -> Bools:
    """Whether a letter of categories Z or Cc with more than one byte begins with these bytes."""
    latin = (first == 0xC2) & (second <= 0xA0)  # U+0080 to U+00A0
    ogham = (first == 0xE1) & (second == 0x9A) & (third == 0x80)
    general = (third <= 0x8A) | (third == 0xA8) | (third == 0xA9) | (third == 0xAF)  # U+2000 to U+202F
    mathematical = (first == 0xE2) & (second == 0x81) & (third == 0x9F)
    ideographic = (first == 0xE3) & (second == 0x80) & (third == 0x80)
    found: Bools = latin | ogham | ((first == 0xE2) & (second == 0x80) & general) | mathematical | ideographic
    return found


def id_of_number(text: str) -> str | None:
    """The id for a number of JSON; None if it is no id."""
    if text.removeprefix("-").isdecimal():
        return "0" if text == "-0" else text
    number = float(text)
    return str(int(number)) if abs(number) < FIRST_INEXACT and number.is_integer() else None
