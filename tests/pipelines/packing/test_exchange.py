"""K-way refinement never makes an order worse and stays within its spans."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.packing import exchange
from pipelines.packing.exchange import refine_kway
from pipelines.packing.graph import Graph
from pipelines.packing.quality import distinct_items
from pipelines.packing.shard import IntArray
from tests.pipelines.packing.graphs import fixed, graphs, topical


def cost(graph: Graph, order: IntArray, batch: int) -> int:
    return int(distinct_items(graph, order, fixed(len(order), batch)).sum())


def drawn(graph: Graph, seed: int = 0) -> IntArray:
    return np.random.default_rng(seed).permutation(graph.trajectories)


@given(graph=graphs, batch=st.integers(1, 9), span=st.none() | st.integers(1, 4), even=st.booleans())
def test_swaps_stay_in_their_span_and_never_add_an_item(graph: Graph, batch: int, span: int | None, even: bool) -> None:
    order = drawn(graph)
    found = refine_kway(graph, order, batch=batch, span=span, even=even)
    width = batch * (span or len(order) + 1)
    for low in range(0, len(order), width):
        assert np.sort(found[low : low + width]).tolist() == np.sort(order[low : low + width]).tolist()
    assert cost(graph, found, batch) <= cost(graph, order, batch)


@given(graph=graphs, batch=st.integers(1, 9))
def test_one_pass_saves_exactly_the_sum_of_what_its_swaps_save(graph: Graph, batch: int) -> None:
    """Each accepted swap is counted exactly: replayed one by one, items fall by what the partner search returned."""
    order = drawn(graph)
    said: list[int] = []
    partner = exchange._best_partner.py_func  # type: ignore[attr-defined]

    def noted(*arguments: object) -> tuple[int, int]:
        v, saved = partner(*arguments)
        said.append(saved if v >= 0 else 0)
        return v, saved

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exchange, "_best_partner", noted)
        patch.setattr(exchange, "_move", exchange._move.py_func)  # type: ignore[attr-defined]
        patch.setattr(exchange, "_swap_passes", exchange._swap_passes.py_func)  # type: ignore[attr-defined]
        found = refine_kway(graph, order, batch=batch, passes=1)
    assert cost(graph, order, batch) - cost(graph, found, batch) == sum(said)


def test_it_betters_a_random_order_and_keeps_batches_even() -> None:
    graph = topical(1024)
    order = drawn(graph)
    free, even = (refine_kway(graph, order, batch=32, even=each) for each in (False, True))
    assert cost(graph, free, 32) < cost(graph, even, 32) < 0.85 * cost(graph, order, 32)

    def spread(found: IntArray) -> float:
        pins = graph.lengths[found].reshape(-1, 32).sum(axis=1)
        return float(pins.max() / pins.mean())

    assert spread(even) <= max(1.03, spread(order))


def test_counts_that_would_not_fit_are_cut_into_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = topical(640)
    order = drawn(graph)
    monkeypatch.setattr(exchange, "MOST_BYTES", 2 * graph.items * 4)  # four batches at once
    found = refine_kway(graph, order, batch=32)
    assert found.tolist() == refine_kway(graph, order, batch=32, span=4).tolist()


def test_a_batch_of_more_than_255_is_counted_in_wider_numbers() -> None:
    graph = topical(1200, topics=2)  # every item is held by far more than 255 of a batch
    order = drawn(graph)
    assert cost(graph, refine_kway(graph, order, batch=400), 400) <= cost(graph, order, 400)
