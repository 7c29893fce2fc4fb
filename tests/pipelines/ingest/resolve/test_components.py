from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipelines.ingest.resolve.components import Node, labels_of

nodes = st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 2))


@given(links=st.lists(st.lists(nodes, min_size=1, max_size=4), max_size=12))
def test_each_node_is_labelled_by_the_smallest_that_it_is_connected_to(links: list[list[Node]]) -> None:
    groups: list[set[Node]] = []
    for link in links:
        touched = [group for group in groups if group & set(link)]
        groups = [group for group in groups if group not in touched] + [set(link).union(*touched)]
    assert labels_of(links) == {node: min(group) for group in groups for node in group}


def test_a_chain_of_a_hundred_thousand_links_needs_no_pairs_and_no_depth() -> None:
    chain = [[(f"{at:06}", 0), (f"{at + 1:06}", 0)] for at in range(100_000)]
    assert set(labels_of(reversed(chain)).values()) == {("000000", 0)}
