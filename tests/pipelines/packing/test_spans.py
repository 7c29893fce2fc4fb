"""Spans cover every byte of a batch file once, one per row group, with the hashes of their bytes."""

from __future__ import annotations

from hashlib import sha256
from itertools import accumulate, pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.packing.spans import spans_of


@pytest.mark.parametrize("groups", [0, 1, 2, 7])
@pytest.mark.parametrize("dictionary", [True, False])
def test_spans_are_the_file_cut_where_row_groups_begin(tmp_path: Path, groups: int, dictionary: bool) -> None:
    path = tmp_path / "f.parquet"
    table = pa.table({"a": [b"x" * 50, b"y" * 900], "b": [1, 2]})
    with pq.ParquetWriter(path, table.schema, use_dictionary=dictionary) as writer:
        for _ in range(groups):
            writer.write_table(table)
    content, spans = path.read_bytes(), spans_of(path)
    ends = [0, *accumulate(span.bytes for span in spans)]
    assert ends[-1] == len(content)
    assert [span.sha256 for span in spans] == [sha256(content[a:b]).hexdigest() for a, b in pairwise(ends)]
    footer = pq.read_metadata(path)
    assert len(spans) == groups + 1
    for number in range(groups):
        for place in range(2):
            column = footer.row_group(number).column(place)
            begin = column.dictionary_page_offset or column.data_page_offset
            assert ends[number] <= begin
            assert begin + column.total_compressed_size <= ends[number + 1]
    if groups:
        assert spans[-1].bytes == footer.serialized_size + 8
        assert pq.read_metadata(pa.BufferReader(content[-spans[-1].bytes :])).equals(footer)
