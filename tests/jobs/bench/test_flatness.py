"""bench flatness reports similar step contents at every size, and the seconds before the first step."""

from __future__ import annotations

import pytest

from jobs.bench.flatness import FlatnessConfig, flatness


def test_steps_have_similar_contents_at_all_sizes() -> None:
    found = flatness(
        FlatnessConfig(
            trajectories=(32, 64, 256), items=(130, 256, 1024), batch_trajectories=2, live_items=100, portions=3
        ),
        "cpu",
    )
    assert len(found["start"]) == 5
    for sweep in ("trajectories", "items"):
        for policy in ("once", "cached"):
            figures = found[sweep][policy]["sizes"].values()
            assert len(figures) == 3
            encoded = [each["encoded_per_step"] for each in figures]
            assert max(encoded) < 1.3 * min(encoded)
            assert found[sweep][policy]["slowest_to_fastest"] >= 1


def test_sizes_that_cannot_be_compared_are_rejected() -> None:
    with pytest.raises(ValueError, match="--portions is 12: use 1 or more, at most 1"):
        FlatnessConfig(trajectories=(128, 1000))
    with pytest.raises(ValueError, match="use more than the 1500"):
        FlatnessConfig(items=(1000,))
