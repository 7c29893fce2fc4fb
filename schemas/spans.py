"""Spans: byte ranges of a batch file, cut where row groups begin, so that a remote reader fetches and checks one each.

The spans of a file are contiguous: one for each row group, then the footer. The first includes the file's header.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from schemas.strict_json import Positive, Sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Consecutive bytes of a file."""

    bytes: Positive
    sha256: Sha256


def spans_fault(spans: Sequence[Span], *, row_groups: int, size: int) -> str | None:
    """The fault in the spans of a file of `size` bytes; None where they are right or there are none."""
    if not spans:
        return None
    if len(spans) != row_groups + 1:
        return f"{len(spans)} spans, where {row_groups} row groups and a footer belong"
    found = sum(span.bytes for span in spans)
    return None if found == size else f"{size} bytes, and spans of {found}"
