"""Hashes the byte spans of a batch file, for readers that fetch single row groups over a network."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq

from schemas.spans import Span

_END = 8  # bytes after the footer: its length and the magic number


def spans_of(path: Path) -> tuple[Span, ...]:
    """One span per row group of a Parquet file and one for its footer, which together cover the file in order."""
    footer = pq.read_metadata(path)
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    begins = [min(_begin(group.column(place)) for place in range(group.num_columns)) for group in groups]
    with path.open("rb") as stream:
        size = stream.seek(-_END, 2) + _END
        footer_bytes = int.from_bytes(stream.read(4), "little") + _END
        stream.seek(0)
        cuts = [0, *begins[1:], size - footer_bytes, size] if groups else [0, size]
        return tuple(_span(stream.read(end - begin)) for begin, end in pairwise(cuts))


def _begin(column: pq.ColumnChunkMetaData) -> int:
    return int(column.dictionary_page_offset or column.data_page_offset)


def _span(content: bytes) -> Span:
    return Span(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
