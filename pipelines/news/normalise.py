"""Normalise: text as publishers send it -> NFC, white space folded, control characters out."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

# Control characters that are no white space. U+001C to U+001F separate, so they count as white space.
_CONTROL = r"[\x00-\x08\x0E-\x1B\x7F-\x{84}\x{86}-\x{9F}]+"
# Unicode's white space and the byte order mark, written out: RE2's \s is ASCII only.
_WHITE_SPACE = r"[\x09-\x0D\x1C-\x20\x{85}\x{FEFF}\p{Z}]+"


def normalise(texts: pa.Array) -> pa.Array:
    """The texts in one spelling; a missing text is an empty one."""
    composed = pc.utf8_normalize(pc.fill_null(texts, ""), form="NFC")
    printable = pc.replace_substring_regex(composed, pattern=_CONTROL, replacement="")
    folded = pc.replace_substring_regex(printable, pattern=_WHITE_SPACE, replacement=" ")
    return pc.utf8_trim(folded, characters=" ")
