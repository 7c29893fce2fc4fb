from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jobs.bench.graphs import graph_of
from jobs.bench.orders import Arm
from jobs.bench.packing import in_child, packing
from jobs.bench.reader import reader
from pipelines.packing.graph import Graph
from pipelines.packing.orders import ORDERS, Leaves
from schemas.errors import InputError
from tests.conftest import REPOSITORY
from tests.packed import packed_directory
from tests.pipelines.packing.graphs import items_of, topical


def npz(folder: Path) -> Path:
    graph = topical(600)
    slot = np.arange(600) // 50
    path = folder / "graph.npz"
    np.savez(path, indptr=graph.start, indices=graph.row[graph.item], last_slot=slot)
    return path


def test_every_order_is_reported_with_random_and_null_and_the_last_line_is_json(tmp_path: Path) -> None:
    options = ["--graph", npz(tmp_path), "--batches", "16", "--superblock", "4", "--repeats", "1", "--mixing", "0.5"]
    command = [sys.executable, "-m", "jobs.bench.packing", *map(str, options)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    ratio = {name: each["16"] for name, each in found["ratio"].items()}
    assert ratio["random"] == 1
    assert ratio["shp_kway"] < ratio["shp"] < 0.7
    assert ratio["shp"] < ratio["null"]  # whose pins have no topics
    assert ratio["shp_balanced"] < ratio["shp_balanced+0.5"] < 1
    assert set(found["cached_ratio"]) == set(ratio) == set(found["per_second"])
    assert found["per_second"]["shp"] > 0
    assert 0 < found["sharded_keeps"]["16"] <= 1.1


@pytest.mark.parametrize("name", ["shp", "shp_balanced", "shp_kway"])
def test_an_orders_memory_is_bounded_by_the_shards_pins(name: str) -> None:
    """Measures one order in a child process; `--shard-pins` relies on this bound, with exchange.MOST_BYTES."""
    rng = np.random.default_rng(1)
    start = np.arange(0, 3_000_001, 60)
    rows = (np.repeat(np.arange(50_000) % 977, 60) * 61 + rng.integers(0, 3000, len(start[:-1]) * 60)) % 60_000
    pairs = np.unique(np.repeat(np.arange(50_000), 60) * 60_000 + rows)
    graph = Graph.from_rows(np.searchsorted(pairs, np.arange(50_001) * 60_000), pairs % 60_000)
    leaves = Leaves(batch=64, superblock=24)
    ORDERS[name](graph.subgraph(np.arange(500)), leaves, 1)  # compiles
    _, _, peak = in_child(graph, leaves, ORDERS[name], 1)
    counts = 2 * graph.items * -(-graph.trajectories // leaves.batch) if name == "shp_kway" else 0
    assert peak < 40 * len(graph.item) + counts


def test_a_packed_directory_in_time_order_is_read_as_a_graph(tmp_path: Path) -> None:
    path = packed_directory(tmp_path / "packed", config={"order": "time"})
    graph = graph_of(path)
    assert graph.trajectories == 48
    assert all(len(items_of(graph, u)) == graph.lengths[u] > 0 for u in range(48))
    with pytest.raises(InputError, match=r"packed in order 'shp'. Pack it with --order time"):
        graph_of(packed_directory(tmp_path / "other", config={"order": "shp"}))


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"indptr": [0, 1]}, "an .npz with indptr, indices, last_slot"),
        ({"indptr": [0, 3], "indices": [1, 2], "last_slot": [1]}, "indptr does not fit"),
        ({"indptr": [0, 2], "indices": [-1, 2], "last_slot": [1]}, "indices below 0"),
    ],
)
def test_an_invalid_graph_is_rejected(tmp_path: Path, arrays: dict[str, list[int]], said: str) -> None:
    np.savez(tmp_path / "a.npz", **{name: np.array(values) for name, values in arrays.items()})
    with pytest.raises(InputError, match=said):
        packing(graph=tmp_path / "a.npz")
    with pytest.raises(InputError, match="neither a packed directory nor"):
        packing(graph=tmp_path / "none.npz")


def test_both_readers_are_compared_with_raw_decoding(tmp_path: Path) -> None:
    found = reader(data=packed_directory(tmp_path / "packed"), epochs=2, repeats=1)
    assert set(found["of_raw"]) == {"raw", "petastorm", "arrow"}
    assert found["megabytes_per_second"]["raw"] > 0
    with pytest.raises(InputError, match="use 1 or more"):
        reader(data=tmp_path / "packed", epochs=0)


def test_an_arm_is_an_order_and_a_share() -> None:
    assert (Arm.of("time"), Arm.of("shp+0.25")) == (Arm("time", "0"), Arm("shp", "0.25"))
    with pytest.raises(InputError, match="--arms names 'best': use random, time"):
        Arm.of("best")
