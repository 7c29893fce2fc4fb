"""Descriptions of packed directories have the right figures; a directory that differs from its manifest is an error."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.errors import ContractError
from schemas.manifest import MANIFEST_FILE
from tests.packed import packed_directory, random_trajectory
from trainer.data.description import FIGURES, Description, describe
from trainer.data.directory import PackedDirectory


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return packed_directory(tmp_path / "packed")


def test_figures_are_those_of_the_trajectories(directory: Path) -> None:
    found = describe(PackedDirectory.open(directory))
    rng = np.random.default_rng(0)
    trajectories = [random_trajectory(rng, items=30) for _ in range(48)]
    groups = [trajectories[start : start + 4] for start in range(0, 48, 4)]

    def items(trajectory: Any) -> set[int]:
        return {*trajectory[0], *(row for listed in trajectory[1] for row in listed)}

    batches = [set().union(*map(items, group)) for group in groups]
    assert found.columns["items"].tolist() == [len(batch) for batch in batches]
    assert found.columns["items_of_batch_before"].tolist() == [0] + [len(a & b) for a, b in itertools.pairwise(batches)]
    assert found.columns["pins"].tolist() == [sum(len(items(each)) for each in group) for group in groups]
    assert found.columns["trajectories"].tolist() == [4] * 12
    assert found.columns["superblock"].tolist() == [n // 3 for n in range(12)]
    assert found.length_B.tolist() == [len(each[0]) for each in trajectories]
    assert found.holders_V.tolist() == [sum(row in items(each) for each in trajectories) for row in range(31)]
    longest = [max(len(each[0]) for each in group) for group in groups]
    summary = found.summary
    assert summary["click_padding"] == pytest.approx(1 - found.length_B.sum() / (4 * sum(longest)), abs=1e-4)
    assert summary["length_spread"] == pytest.approx(np.mean(longest) / found.length_B.mean(), abs=1e-3)
    assert summary["uses_of_an_item"] == pytest.approx(found.sum("item_occurrences") / found.sum("items"), abs=1e-3)


def test_the_expected_items_are_those_of_random_batches(directory: Path) -> None:
    found = describe(PackedDirectory.open(directory))
    rng = np.random.default_rng(0)
    trajectories = [random_trajectory(rng, items=30) for _ in range(48)]
    pins = [{*clicks, *(row for listed in lists for row in listed)} for clicks, lists, _ in trajectories]
    dealt = []
    for _ in range(400):
        order = rng.permutation(48)
        dealt.append(sum(len(set().union(*(pins[u] for u in order[s : s + 4]))) for s in range(0, 48, 4)))
    assert found.expected_at_random() == pytest.approx(np.mean(dealt), rel=0.01)


def test_two_variants_are_expected_twice() -> None:
    def description(variants: int) -> Description:
        batches = 3 * variants
        columns = dict.fromkeys(FIGURES, np.full(batches, 4))
        columns["variant"] = np.repeat(np.arange(variants), 3)
        return Description(columns, np.full(4 * batches, 2), variants * np.array([0, 1, 2, 12, 5]))

    assert description(2).expected_at_random() == pytest.approx(2 * description(1).expected_at_random())


def changed(directory: Path, change: dict[str, Any]) -> PackedDirectory:
    """The directory with another manifest."""
    file = directory / MANIFEST_FILE
    raw = json.loads(file.read_text())
    for name, value in change.items():
        raw[name] = value if isinstance(value, list) else raw[name] | value
    file.write_text(json.dumps(raw))
    return PackedDirectory.open(directory)


def test_counts_that_differ_from_the_manifest_are_named(directory: Path) -> None:
    with pytest.raises(ContractError, match=r"the manifest says clicks 1, found \d+\. Pack again"):
        describe(changed(directory, {"counts": {"clicks": 1}}))


def test_items_beyond_the_token_table_are_named(directory: Path) -> None:
    files = json.loads((directory / MANIFEST_FILE).read_text())["files"]
    files = [entry for entry in files if not entry["path"].startswith("rows/")]
    for entry in files:
        if entry["path"].startswith("tokens/"):
            entry["rows"] = 10 if "segment_start" in entry["path"] else min(9, entry["rows"])
    with pytest.raises(ContractError, match=r"part-0\.parquet, row group 0, row 0: .* a row beyond the 9"):
        describe(changed(directory, {"tokens": {"rows": 9}, "files": files}))


def test_a_superblock_with_other_trajectories_than_the_manifest_says_is_named(directory: Path) -> None:
    files = json.loads((directory / MANIFEST_FILE).read_text())["files"]
    first, second = next(entry["superblocks"] for entry in files if entry["superblocks"])[:2]
    first["trajectories"], second["trajectories"] = first["trajectories"] + 1, second["trajectories"] - 1
    with pytest.raises(ContractError, match=r"row group 0: 12 trajectories, the manifest says 13\. Pack again"):
        describe(changed(directory, {"files": files}))


def test_two_variants_are_both_described(tmp_path: Path) -> None:
    described = describe(PackedDirectory.open(packed_directory(tmp_path / "even", variants=2)))
    assert set(described.columns["variant"].tolist()) == {0, 1}
