from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.packing.graph import Graph
from tests.pipelines.packing.graphs import graphs, items_of
from tests.pipelines.packing.test_budget import Clicks, shard_of, trajectories
from tests.pipelines.packing.test_budget import items_of as items_of_users


@given(users=trajectories)
def test_pins_are_the_distinct_items_of_each_trajectory(users: list[Clicks]) -> None:
    graph = Graph.from_shard(shard_of(users))
    assert [items_of(graph, u) for u in range(graph.trajectories)] == [items_of_users([user]) for user in users]
    assert graph.lengths.tolist() == [len(items_of_users([user])) for user in users]  # each once
    assert graph.items == len(items_of_users(users))


@given(graph=graphs, data=st.data())
def test_a_part_of_a_graph_holds_the_same_items(graph: Graph, data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.sampled_from(range(graph.trajectories)), unique=True)) if graph.trajectories else []
    part = graph.subgraph(np.array(chosen, np.int64))
    assert [items_of(part, place) for place in range(len(chosen))] == [items_of(graph, u) for u in chosen]
    assert sorted(set(part.item.tolist())) == list(range(part.items))
    assert all(a < b for a, b in itertools.pairwise(part.row.tolist()))
