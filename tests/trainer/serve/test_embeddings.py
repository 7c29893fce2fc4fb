"""The embeddings table: which vectors are up to date, and what a commit changes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from deltalake import DeltaTable

from schemas.embedding import EMBEDDINGS
from schemas.errors import InputError
from trainer.eval.catalogue import Catalogue
from trainer.serve.embeddings import (
    News,
    Stamp,
    StoredVectors,
    reusable_vectors,
    stored_vectors,
    table_of,
    up_to_date,
    version_of,
    write_vectors,
)

STAMP = Stamp(source="it's", checkpoint="run/step-1", checkpoint_sha256="aa", step=1, item_tokens_version=4)
NOW = datetime(2026, 3, 2, tzinfo=UTC)


def news(*rows: tuple[int, int, int]) -> News:
    """(row, canonical row, tokens_version) of each."""
    row, canonical, version = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    return News(row_N=row, id_N=np.array([f"n{r}" for r in row], object), canonical_N=canonical, version_N=version)


def vectors(*values: float) -> np.ndarray:
    return np.array([[value, -value] for value in values], np.float32)


def write(path: Path, stamp: Stamp, ours: News, values: np.ndarray, *, replace_all: bool) -> None:
    write_vectors(path, table_of(ours, values, stamp, NOW), stamp.source, replace_all=replace_all)


def held(path: Path, stamp: Stamp, ours: News) -> dict[int, float]:
    """The stored vectors by row: the first number of each."""
    found = stored_vectors(path, stamp, ours)
    assert found is not None
    return dict(zip(found.news.row_N.tolist(), found.vector_ND[:, 0].tolist(), strict=True))


def test_a_vector_is_up_to_date_while_row_and_version_are_unchanged() -> None:
    then = StoredVectors(news=news((1, 1, 1), (2, 2, 1), (3, 3, 1), (4, 1, 1)), vector_ND=vectors(1, 2, 3, 1))
    now = news((1, 1, 1), (2, 2, 2), (3, 1, 1), (4, 1, 1), (5, 5, 1))  # 2 changed, 3 folded into 1, 5 new
    assert up_to_date(now, then).tolist() == [True, False, False, True, False]
    rows, known = reusable_vectors(now, then)
    assert rows.tolist() == [1]  # 3's vector need not be computed: it is 1's
    assert known is not None
    assert known.tolist() == [[1, -1]]
    assert not up_to_date(now, None).any()
    assert reusable_vectors(now, None)[0].tolist() == []


def test_all_rows_are_news_where_no_ids_are_known() -> None:
    empty = np.full(4, "", object)
    ours = Catalogue(
        source="s", news_id_V=empty, category_V=empty, subcategory_V=empty, title_V=empty,
        canonical_row_V=np.array([0, 1, 1, 3]),
    )  # fmt: skip
    versions = np.array([0, 7, 8, 9], np.int32)
    found = News.of(ours, versions)
    assert (found.row_N.tolist(), found.canonical_N.tolist(), found.version_N.tolist()) == (
        [1, 2, 3],
        [1, 1, 3],
        [7, 7, 9],
    )
    named = replace(ours, news_id_V=np.array(["", "a", "", "c"], object))
    assert News.of(named, versions).row_N.tolist() == [1, 3]


def test_the_first_commit_holds_all_of_the_contract(tmp_path: Path) -> None:
    ours = news((1, 1, 1), (2, 1, 1))
    write(tmp_path, STAMP, ours, vectors(0.1, 0.1), replace_all=True)
    table = DeltaTable(str(tmp_path))
    assert [field.name for field in table.schema().fields] == list(EMBEDDINGS.column_names)
    assert [field.name for field in table.schema().fields if field.nullable] == ["item_id"]
    assert table.metadata().partition_columns == ["source"]
    assert table.metadata().configuration["delta.enableDeletionVectors"] == "false"
    assert table.protocol().min_reader_version == 1
    assert (version_of(tmp_path), held(tmp_path, STAMP, ours)) == (0, {1: np.float32(0.1), 2: np.float32(0.1)})


def test_a_merge_changes_only_its_own_rows(tmp_path: Path) -> None:
    ours = news((1, 1, 1), (2, 2, 1))
    write(tmp_path, STAMP, ours, vectors(1, 2), replace_all=True)
    other = replace(STAMP, source="other", checkpoint_sha256="bb")
    write(tmp_path, other, ours, vectors(8, 9), replace_all=True)
    write(tmp_path, STAMP, news((2, 2, 2), (3, 3, 1)), vectors(5, 6), replace_all=False)
    assert held(tmp_path, STAMP, ours) == {1: 1, 2: 5, 3: 6}
    assert held(tmp_path, other, ours) == {1: 8, 2: 9}
    assert version_of(tmp_path) == 2


def test_another_checkpoint_replaces_its_own_source_in_one_commit(tmp_path: Path) -> None:
    ours = news((1, 1, 1), (2, 2, 1))
    write(tmp_path, STAMP, ours, vectors(1, 2), replace_all=True)
    other = replace(STAMP, source="other")
    write(tmp_path, other, ours, vectors(8, 9), replace_all=True)
    trained = replace(STAMP, checkpoint_sha256="cc")
    assert stored_vectors(tmp_path, trained, ours) is None
    write(tmp_path, trained, news((1, 1, 1)), vectors(3), replace_all=True)
    assert held(tmp_path, trained, ours) == {1: 3}
    assert stored_vectors(tmp_path, STAMP, ours) is None
    assert held(tmp_path, other, ours) == {1: 8, 2: 9}
    assert version_of(tmp_path) == 2


def test_vectors_of_another_lake_are_not_used(tmp_path: Path) -> None:
    ours = news((1, 1, 1))
    assert stored_vectors(tmp_path / "nothing", STAMP, ours) is None
    write(tmp_path, STAMP, ours, vectors(1), replace_all=True)
    renamed = replace(ours, id_N=np.array(["x1"], object))
    assert stored_vectors(tmp_path, STAMP, renamed) is None


def test_tokens_older_than_the_vectors_raise_an_error(tmp_path: Path) -> None:
    ours = news((1, 1, 1))
    write(tmp_path, STAMP, ours, vectors(1), replace_all=True)
    with pytest.raises(InputError, match=r"packed from version 3\. Name a directory packed since"):
        stored_vectors(tmp_path, replace(STAMP, item_tokens_version=3), ours)


def test_a_table_of_something_else_is_named_and_left_alone(tmp_path: Path) -> None:
    ours = news((1, 1, 1))
    foreign = table_of(ours, vectors(1), STAMP, NOW).drop_columns(["vector"])
    write_vectors(tmp_path, foreign, STAMP.source, replace_all=True)
    with pytest.raises(InputError, match="Nothing has changed there"):
        write(tmp_path, STAMP, ours, vectors(1), replace_all=True)
    assert version_of(tmp_path) == 0
