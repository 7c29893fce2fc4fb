from __future__ import annotations

import pickle

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.packing.graph import Graph
from pipelines.packing.sampled_key import SampledKey
from tests.pipelines.packing.graphs import graphs, topical


@given(sample=graphs, graph=graphs, shards=st.integers(1, 5))
def test_no_shard_takes_more_than_its_share(sample: Graph, graph: Graph, shards: int) -> None:
    found = SampledKey.learn(sample, shards=shards, seed=1).assign(graph)
    assert len(found) == graph.trajectories
    if len(found):
        assert found.min() >= 0
        assert np.bincount(found, minlength=shards).max() <= np.ceil(1.05 * len(found) / shards)


def test_a_sample_teaches_which_items_go_together() -> None:
    graph = topical(4000, topics=8)
    key = SampledKey.learn(graph.subgraph(np.arange(0, 4000, 10)), shards=8, seed=1)
    found = key.assign(graph)

    owner = np.repeat(np.arange(4000), graph.lengths)
    topic = (graph.row[graph.item] - 1) // 40

    def purity(shard: np.ndarray) -> float:
        """Share of a shard's pins that belong to its most common topic."""
        parts = (np.bincount(topic[shard[owner] == each], minlength=8) for each in range(8))
        return float(np.mean([counts.max() / counts.sum() for counts in parts]))

    assert purity(found) > 0.5 > 0.2 > purity(np.arange(4000) % 8)


def test_what_tasks_are_sent_grows_with_what_is_held_and_not_with_shards_times_items() -> None:
    graph = topical(4000, topics=100)
    key = SampledKey.learn(graph, shards=400, seed=1)
    assert len(key.row) > 3900
    assert len(pickle.dumps(key)) < 16 * len(graph.item) < 400 * len(key.row)
