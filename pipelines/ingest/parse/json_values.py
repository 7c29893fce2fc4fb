"""Raw values of JSON from the lines -> columns of texts and of lists, all lines at once.

A value without the plain form of its column (an escape, another type, a number with a fraction, an object, half a
surrogate pair) is marked as odd, and its line is parsed exactly on its own (`json_exact.py`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.ingest.parse.ids import id_of_number
from pipelines.ingest.parse.text_lists import (
    TEXT,
    TEXTS,
    Bools,
    any_of,
    binaries,
    concatenated,
    is_null,
    lengths,
    lists_of,
    rows_with,
    spans,
)
from pipelines.lists import bounds_of

Raw = msgspec.Raw
NULL = Raw(b"null")
DIGITS, MARKS, NUMBER = b"0123456789", b"0123456789truefalse", b"0123456789+-.eE"  # of values without quotes
_QUOTE, _BACKSLASH, _BRACKET, _N = b'"\\[n'
_WHITE = " \t\n\x0b\f\r"
_WHITES = re.compile(rb"[\t\n\x0b\f\r]|  ")
_FRACTION = re.compile(r"-?[0-9]+\.[0-9]*(E-?[0-9]+)?")
_list_of_ids = msgspec.json.Decoder(list[str | int])


def scalars(values: Sequence[Raw], bare: bytes) -> tuple[pa.Array, Bools]:
    """The texts, and the numbers as written; null stays null. Odd: without quotes and with a letter not in `bare`."""
    data, at = b"".join(values), bounds_of(np.fromiter(map(len, values), np.int64, len(values)))
    letters = np.frombuffer(data, np.uint8)
    first = letters[at[:-1]]
    quoted, null = first == _QUOTE, first == _N
    odd = rows_with(np.flatnonzero(letters == _BACKSLASH), at)
    raw = binaries(data, at)
    if quoted.all():
        return pc.binary_slice(raw, 1, -1).view(TEXT), odd
    odd |= ~quoted & ~null & rows_with(np.flatnonzero(~_among(bare)[letters]), at)
    texts = pc.if_else(pa.array(quoted), pc.binary_slice(raw, 1, -1), raw)
    return pc.if_else(pa.array(null), None, texts).view(TEXT), odd


def id_lists(values: Sequence[Raw], bare: bytes) -> tuple[pa.Array, Bools]:
    """The lists of texts, or of numbers as written; null stays null. Odd: a value that is no such list.

    The separator between the ids of the longest list splits all lists. A quote or a letter not in `bare` inside of an
    id shows that a list was split wrongly; a JSON parser then reads that list.
    """
    data, at = b"".join(values), bounds_of(np.fromiter(map(len, values), np.int64, len(values)))
    letters = np.frombuffer(data, np.uint8)
    sizes = np.diff(at)
    is_list, null = letters[at[:-1]] == _BRACKET, letters[at[:-1]] == _N
    empty = is_list & (sizes == 2)
    quoted, between = _style(bytes(values[int(sizes.argmax())]) if len(values) else b"[]")
    edge = 2 if quoted else 1
    allowed = ~_among(b'"\\') if quoted else _among(bare)
    plain = is_list & ~empty
    if quoted:
        plain &= (letters[np.minimum(at[:-1] + 1, at[1:] - 1)] == _QUOTE) & (letters[at[1:] - 2] == _QUOTE)
    inner = pc.binary_slice(binaries(data, at), edge, -edge)
    some = inner if plain.all() else pc.if_else(pa.array(plain), inner, None)
    pieces = pc.split_pattern(some.view(TEXT), between)
    counts, ids = lengths(pieces), pieces.flatten()
    text, starts = spans(ids)
    wrong = rows_with(np.flatnonzero(~allowed[text]), starts)
    if not quoted:
        wrong |= np.diff(starts) == 0
    others = np.flatnonzero((is_list & ~empty & ~plain) | any_of(wrong, counts))
    found = lists_of(counts, ids, ~null)
    odd = ~is_list & ~null
    if len(others) == 0:
        return found, odd
    parsed = [_parsed(values[row]) for row in others.tolist()]
    odd[others] = [ids is None for ids in parsed]
    order = np.arange(len(values))
    order[others] = len(values) + np.arange(len(others))
    return concatenated([found, pa.array(parsed, TEXTS)], order), odd


def split_ids(texts: pa.Array, split: str) -> pa.Array:
    """The list of ids in each text, without brackets around the text, and quotes and white space around each id.

    A piece without quotes that is written as a fraction is a number.
    """
    bare = pc.utf8_rtrim(pc.utf8_ltrim(texts, _WHITE + "[("), _WHITE + "])")
    some = pc.if_else(pc.not_equal(bare, ""), bare, None)
    if not split.isspace():
        pieces = pc.split_pattern(some, split.strip())
    elif _WHITES.search(spans(some)[0].tobytes()):
        pieces = pc.split_pattern_regex(some, r"[ \t\n\x0b\f\r]+")
    else:
        pieces = pc.split_pattern(some, " ")
    counts, pieces = lengths(pieces), pieces.flatten()
    ids = pc.utf8_trim(pieces, _WHITE + "'\"")
    if ord(".") in spans(ids)[0]:
        numbers = [_FRACTION.fullmatch(piece.strip(_WHITE)) for piece in pieces.to_pylist()]
        mended = [
            id_of_number(number[0]) if number else id for number, id in zip(numbers, ids.to_pylist(), strict=True)
        ]
        ids = pa.array(mended, TEXT)
    return lists_of(counts, ids, ~is_null(texts))


def single_lists(texts: pa.Array) -> pa.Array:
    """Each text as a list of one; null stays null."""
    valid = ~is_null(texts)
    return lists_of(valid.astype(np.int64), texts.drop_null(), valid)


def _style(longest: bytes) -> tuple[bool, str]:
    """Whether the ids of a list have quotes, and the separator between two of them."""
    quoted = longest[1:2] == b'"'
    comma = b'"%b"' if quoted else b"%b"
    between = ", " if comma % b", " in longest else ","
    return quoted, (comma % between.encode()).decode()


def _among(letters: bytes) -> Bools:
    found = np.zeros(256, np.bool_)
    found[list(letters)] = True
    return found


def _parsed(value: Raw) -> list[str] | None:
    """The ids of a list of texts and integers; None if the value is no such list."""
    try:
        ids = _list_of_ids.decode(value)
    except msgspec.DecodeError:
        return None
    return [id if isinstance(id, str) else str(id) for id in ids]
