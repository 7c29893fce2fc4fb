from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jobs.bench.drawn_directory import DrawnConfig, drawn_directory
from schemas.errors import InputError
from trainer.data.description import Description, describe
from trainer.data.directory import PackedDirectory


def drawn(folder: Path, trajectories: int, items: int) -> Description:
    config = DrawnConfig(
        trajectories=trajectories, items=items, batch_trajectories=8, superblock_batches=3, live_items=200
    )
    path = drawn_directory(folder / f"{trajectories}-{items}", config, np.full(items, 7))
    return describe(PackedDirectory.open(path))  # checks every batch against manifest and tokens


def test_is_a_valid_packed_directory_whose_batch_size_does_not_depend_on_the_other_sizes(tmp_path: Path) -> None:
    found = [drawn(tmp_path, *sizes) for sizes in ((80, 256), (400, 256), (80, 2000))]
    assert [each.sum("trajectories") for each in found] == [80, 400, 80]
    means = [each.summary["items_per_batch"] for each in found]
    assert max(means) < 1.05 * min(means)
    assert found[0].summary["uses_of_an_item"] > 2
    assert 0 < found[0].summary["of_batch_before"] < 1


def test_the_same_seed_makes_the_same_data(tmp_path: Path) -> None:
    one, other = drawn(tmp_path / "one", 40, 256), drawn(tmp_path / "other", 40, 256)
    assert all(np.array_equal(one.columns[name], other.columns[name]) for name in one.columns)


def test_too_few_items_are_rejected() -> None:
    with pytest.raises(InputError, match="--items 20: use 1 or more, of items 64"):
        DrawnConfig(items=20)
