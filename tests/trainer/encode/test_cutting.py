"""Chunks hold every item once, and those for a GPU or a compiler have few shapes and about as many tokens."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.encode.cutting import ByLength, Cutter, Lengths, PackedForms, PaddedForms
from trainer.model.packed_rows import best_fit

SIZES = (64, 16)
V = 3000


def lengths_of(seed: int, segments: int) -> Lengths:
    """Items of up to `segments` segments of 3 to 32 tokens each, about half of them used; row 0 is the pad."""
    rng = np.random.default_rng(seed)
    used_VS = np.arange(segments) < rng.integers(1, segments + 1, (V, 1))
    length_VS = np.clip(rng.poisson(13, (V, segments)) + 3, 3, 32) * used_VS
    length_VS[0] = 0
    return Lengths(length_VS.sum(1), length_VS.max(1), segments)


def rows_needed(tokens: np.ndarray, width: int) -> int:
    return best_fit(tokens, width)[2]


def cutters(lengths: Lengths) -> dict[str, Cutter]:
    return {
        "padded": PaddedForms(SIZES, lengths),
        "packed": PackedForms(SIZES, lengths, width=128, rows_needed=rows_needed),
        "by length": ByLength(SIZES, lengths.tokens_V),
    }


def padded_rows(rows: np.ndarray, places: np.ndarray, size: int) -> np.ndarray:
    found = np.zeros(size, np.int64)
    found[: len(places)] = rows[places]
    return found


@pytest.mark.parametrize("name", ["padded", "packed", "by length"])
@given(st.integers(0, 700), st.integers(0, 5), st.sampled_from([1, 3]))
@settings(max_examples=40, deadline=None)
def test_every_item_is_encoded_once_and_fits_its_form(name: str, items: int, seed: int, segments: int) -> None:
    lengths = lengths_of(seed, segments)
    rows = np.random.default_rng(seed).permutation(np.arange(1, V))[:items]
    cutter = cutters(lengths)[name]
    cuts = cutter.cut(rows)
    assert sorted(place for cut in cuts for place in cut.places) == list(range(items))
    for cut in cuts:
        assert 0 < len(cut.places) <= cut.rows
        form = cutter.form(padded_rows(rows, cut.places, cut.rows))
        if name == "by length":
            assert form is None
            continue
        assert form is not None
        assert form.segments == lengths.segments
        assert form.tokens >= lengths.longest_V[rows[cut.places]].max()
        if form.packed_rows is not None:
            assert rows_needed(lengths.tokens_V[rows[cut.places]], 128) <= form.packed_rows


@pytest.mark.parametrize("name", ["padded", "packed"])
@pytest.mark.parametrize("segments", [1, 3])
def test_shapes_are_at_most_eight_and_hold_about_as_many_tokens(name: str, segments: int) -> None:
    lengths = lengths_of(1, segments)
    cutter, rng = cutters(lengths)[name], np.random.default_rng(2)
    shapes, computed, real, chunks = set(), 0, 0, 0
    for _ in range(60):
        rows = rng.permutation(np.arange(1, V))[: int(rng.integers(1, 900))]
        for cut in cutter.cut(rows):
            form = cutter.form(padded_rows(rows, cut.places, cut.rows))
            assert form is not None
            shapes.add((cut.rows, form))
            computed += form.packed_rows * 128 if form.packed_rows else cut.rows * form.segments * form.tokens
            chunks += 1
        real += int(lengths.tokens_V[rows].sum())
    assert len(shapes) <= 8
    assert computed / chunks > lengths.budget(min(SIZES))
    # Segments that an item lacks are padding in the padded form.
    assert computed / real < (1.5 if name == "packed" else 1.7 * segments)


def test_one_large_chunk_replaces_more_than_two_small_ones() -> None:
    tokens_V = np.r_[0, np.full(200, 8), 32]
    lengths = Lengths(tokens_V, tokens_V, 1)
    cutter = PaddedForms((16, 4), lengths)
    sizes = [[(len(cut.places), cut.rows) for cut in cutter.cut(np.arange(1, 33 + left))] for left in (17, 16, 7)]
    assert sizes == [[(32, 32), (17, 32)], [(32, 32), (8, 8), (8, 8)], [(32, 32), (7, 8)]]


def test_few_items_left_of_a_length_are_encoded_with_longer_ones() -> None:
    tokens_V = np.r_[0, np.full(200, 8), np.full(200, 32)]
    cutter = PaddedForms((16, 4), Lengths(tokens_V, tokens_V, 1))
    rows = np.r_[1:37, 201:206]  # 36 short items, 5 long ones
    cuts = cutter.cut(rows)
    found = [(len(cut.places), cutter.form(np.zeros(cut.rows, np.int64)).tokens) for cut in cuts]
    assert found == [(32, 8), (7, 32), (2, 32)]
