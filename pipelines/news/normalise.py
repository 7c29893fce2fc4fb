"""Normalises publishers' text: plain, NFC, white space folded, without control characters."""

from __future__ import annotations

import unicodedata

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.news.markup import plain_text

# Control characters except white space. U+001C to U+001F are separators, so they count as white space.
_CONTROL = r"[\x00-\x08\x0E-\x1B\x7F-\x{84}\x{86}-\x{9F}]+"
# Unicode's white space and the byte order mark, written out: RE2's \s is ASCII only.
_WHITE_SPACE = r"[\x09-\x0D\x1C-\x20\x{85}\x{FEFF}\p{Z}]+"


def normalise(texts: pa.Array) -> pa.Array:
    """The normalised texts; a missing text becomes an empty one."""
    plain = plain_text(_printable(pc.fill_null(texts, "")))
    printable = _printable(_composed(plain))  # again: an entity can encode a control character
    folded = pc.replace_substring_regex(printable, pattern=_WHITE_SPACE, replacement=" ")
    return pc.utf8_trim(folded, characters=" ")


def _printable(texts: pa.Array) -> pa.Array:
    return pc.replace_substring_regex(texts, pattern=_CONTROL, replacement="")


def _composed(texts: pa.Array) -> pa.Array:
    """NFC by Python's own tables: pyarrow 14's utf8_normalize decomposes under every form. ASCII needs none."""
    odd = pc.invert(pc.string_is_ascii(texts))
    values = [unicodedata.normalize("NFC", text) for text in texts.filter(odd).to_pylist()]
    return pc.replace_with_mask(texts, odd, pa.array(values, pa.string()))
