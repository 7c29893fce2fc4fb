"""Finds the connected components of each user's clusters, in nearly linear time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa
from pyspark.sql import DataFrame

Node = tuple[str, int]  # a cluster's id and start

_LABELS = "user_id string, id string, start bigint, label_id string, label_start bigint"


def smallest_linked(links: DataFrame) -> DataFrame:
    """(`user_id`, `links`) -> for each linked cluster (`id`, `start`) the smallest one (`label_id`, `label_start`) that
    it is connected to. `links`: lists of clusters (id, start) that are one. One user is one row, and must fit into a
    task's memory.
    """
    return links.select("user_id", "links").mapInArrow(_labelled, _LABELS)


def labels_of(links: Iterable[list[Node]]) -> dict[Node, Node]:
    """Each node -> the smallest node that it is connected to."""
    parent: dict[Node, Node] = {}

    def root_of(node: Node) -> Node:
        root = node
        while (above := parent.setdefault(root, root)) != root:
            root = above
        while node != root:
            parent[node], node = root, parent[node]
        return root

    for link in links:
        roots = [root_of(node) for node in link]
        least = min(roots)
        for root in roots:
            parent[root] = least
    return {node: root_of(node) for node in list(parent)}


def _labelled(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        columns: list[list[object]] = [[] for _ in range(5)]
        for place in range(batch.num_rows):
            user, labels = batch["user_id"][place].as_py(), labels_of(_links(batch["links"].slice(place, 1)))
            rows = ((user, *node, *label) for node, label in sorted(labels.items()))
            for column, values in zip(columns, zip(*rows, strict=True), strict=False):
                column.extend(values)
        types = (pa.string(), pa.string(), pa.int64(), pa.string(), pa.int64())
        names = ["user_id", "id", "start", "label_id", "label_start"]
        yield pa.RecordBatch.from_arrays([pa.array(c, t) for c, t in zip(columns, types, strict=True)], names)


def _links(of_user: pa.ListArray) -> Iterator[list[Node]]:
    lists = of_user.flatten()
    nodes = lists.flatten()
    ends = nodes.field("id").to_pylist(), nodes.field("start").to_pylist()
    every = list(zip(*ends, strict=True))
    begin = 0
    for length in lists.value_lengths().to_pylist():
        yield every[begin : begin + length]
        begin += length
