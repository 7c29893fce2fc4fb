"""bench ranks reports what each rank reads and encodes with one stream, and with one for each rank."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.bench.ranks import RanksConfig, ranks
from tests.packed import packed_directory


def test_a_stream_for_each_rank_reads_every_superblock_once_and_encodes_less() -> None:
    found = ranks(RanksConfig(trajectories=64 * 24 * 4, items=6000, ranks=(4,), batches_per_rank=(1,)), "cpu")
    one, four = found["dealt"]
    assert (one["streams"], one["superblocks_read"], one["superblocks"]) == (1, 16, 4)
    assert (four["streams"], four["superblocks_read"], four["superblocks"]) == (4, 4, 4)
    assert one["once"]["encoded_per_1000_clicks"] == four["once"]["encoded_per_1000_clicks"]  # a batch for each rank
    cached = [dealt["cached"]["encoded_per_1000_clicks"] for dealt in (one, four)]
    assert cached[1] < 0.97 * cached[0]
    for dealt in (one, four):
        for figures in (dealt["once"], dealt["cached"], dealt["cached, shared"]):
            assert 1 <= figures["slowest"] < 1.5
            mean, slowest = (figures[f"encoded_{by}per_1000_clicks"] for by in ("", "by_slowest_"))
            assert mean < 4 * slowest < 1.5 * mean


def test_a_packed_directory_of_ones_own_is_read(tmp_path: Path) -> None:
    config = RanksConfig(data=str(packed_directory(tmp_path / "packed")), ranks=(2,), batches_per_rank=(2,))
    assert [dealt["superblocks"] for dealt in ranks(config, "cpu")["dealt"]] == [4, 4]


def test_numbers_of_ranks_that_compare_nothing_are_rejected() -> None:
    with pytest.raises(ValueError, match=r"--ranks is \(1,\).*use 2 or more"):
        RanksConfig(ranks=(1,))
