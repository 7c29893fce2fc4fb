"""Recommends the news with the best scores to users of the lake and of the command line."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from schemas.errors import InputError
from tests.exported import SOURCE
from trainer.model.user_encoder import UserEncoder, UserEncoderConfig
from trainer.serve.export_files import Record
from trainer.serve.index import build_index
from trainer.serve.opened_export import Export
from trainer.serve.recommend import known_rows, recommend_to, rows_of
from trainer.serve.user_clicks import user_state

ROWS = np.arange(1, 41)
VECTORS = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
VECTORS[19] = VECTORS[4]  # news 20 is folded into 5


def opened(*, named: bool = True) -> Export:
    torch.manual_seed(0)
    user = UserEncoder(UserEncoderConfig(attention_width=4), vector_width=8)
    torch.nn.init.normal_(user.start_D)
    record = Record(
        source=SOURCE, checkpoint="run/step-1", checkpoint_sha256="", step=1, data="", tables={}, embeddings="",
        news=40, vectors=39, vector_width=8, index={}, history_clicks=3, user={}, made_at="", files={},
    )  # fmt: skip
    texts = np.array([f"text {row}" for row in ROWS], object)
    news = {
        "item_row": ROWS,
        "canonical_row": np.where(ROWS == 20, 5, ROWS),
        "news_id": np.array([f"n{row}" if named else "" for row in ROWS], object),
        "category": texts,
        "subcategory": texts,
        "title": texts,
    }
    index = build_index(VECTORS, ROWS, "flat", VECTORS[:1]).index
    return Export(record=record, index=index, user=user, news=news)


def found(export: Export, clicked: list[int], *, count: int, exclude_seen: bool = True) -> list[str]:
    found = recommend_to(export, np.array(clicked, np.int64), count=count, exclude_seen=exclude_seen)
    assert [news.rank for news in found] == list(range(1, len(found) + 1))
    return [news.news_id for news in found]


def test_the_best_are_those_that_sorting_finds_without_what_was_clicked() -> None:
    export, clicked = opened(), [3, 9, 5]
    score = VECTORS @ user_state(export.user, VECTORS[np.array(clicked) - 1])
    order = [int(row) for row in ROWS[np.argsort(-score)] if row not in (3, 9, 5, 20)]
    assert found(export, clicked, count=36) == [f"n{row}" for row in order]
    assert found(export, clicked, count=4) == [f"n{row}" for row in order[:4]]
    assert len(found(export, clicked, count=99)) == 36


def test_of_some_news_alone_the_best_are_those_that_sorting_finds() -> None:
    export, clicked, among = opened(), [3, 9, 5], np.array([2, 3, 5, 7, 11, 20, 30])
    score = VECTORS @ user_state(export.user, VECTORS[np.array(clicked) - 1])
    order = [int(row) for row in ROWS[np.argsort(-score)] if row in (2, 7, 11, 30)]
    best = recommend_to(export, np.array(clicked), count=3, among=among)
    assert [news.item_row for news in best] == order[:3]
    assert [news.score for news in best] == pytest.approx([float(score[row - 1]) for row in order[:3]], rel=1e-5)
    assert len(recommend_to(export, np.array(clicked), count=9, among=among)) == 4


def test_a_text_under_two_ids_is_recommended_once() -> None:
    both = {"n5", "n20"}
    assert len(both & set(found(opened(), [1], count=40))) == 1
    assert not both & set(found(opened(), [20], count=40))
    assert len(found(opened(), [20], count=40, exclude_seen=False)) == 39


def test_the_latest_clicks_make_the_user() -> None:
    assert found(opened(), [1, 2, 3, 4], count=5, exclude_seen=False) == found(
        opened(), [7, 2, 3, 4], count=5, exclude_seen=False
    )
    assert found(opened(), [2, 3, 4], count=9) != found(opened(), [4], count=9)


def test_a_user_without_clicks_gets_news_too() -> None:
    assert len(found(opened(), [], count=3)) == 3


def test_news_are_found_by_id_or_by_row_where_there_are_none() -> None:
    assert rows_of(opened(), ["n7", "n20"]).tolist() == [7, 20]
    assert rows_of(opened(named=False), ["7"]).tolist() == [7]
    with pytest.raises(InputError, match=r"no news 'n205'. The nearest: n2, n20, n21, n22"):
        rows_of(opened(), ["n205"])
    rows, unknown = known_rows(opened(), ["n7", "gone", "n8"])
    assert (rows.tolist(), unknown) == ([7, 8], 1)
