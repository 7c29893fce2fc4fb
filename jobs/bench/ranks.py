"""Benchmark: what each of several ranks reads and encodes, by the planners' integers alone; no model is made."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.bench.drawn_directory import DrawnConfig, drawn_directory
from jobs.bench.plain_options import run_plain
from trainer.cost.encoder_speed import title_lengths
from trainer.cost.work import Lengths
from trainer.data.directory import PackedDirectory
from trainer.data.position import Line, Order
from trainer.data.reader import Reader, arrow_superblocks
from trainer.encode.plan import Plan
from trainer.encode.planner import make_planner
from trainer.encode.policies import PlannerConfig, Policy
from trainer.setup.automatic import DeviceName

IntArray = NDArray[np.int64]

POLICIES: tuple[Policy, ...] = ("once", "cached")


@dataclass(frozen=True, slots=True, kw_only=True)
class RanksConfig:
    """The data and the numbers of ranks to compare."""

    data: str = ""
    """a packed directory on this machine; empty = random trajectories"""
    trajectories: int = 120_000
    """windows of clicks, if random"""
    items: int = 16_384
    """V: number of item rows, if random"""
    ranks: tuple[int, ...] = (2, 4, 8)
    """W: numbers of ranks"""
    batches_per_rank: tuple[int, ...] = (1, 2)
    """packed batches of a step for each rank"""
    seed: int = 1
    """seed of data, order and coins"""

    def __post_init__(self) -> None:
        if min(self.ranks) < 2 or min(self.batches_per_rank) < 1:
            raise ValueError(
                f"--ranks is {self.ranks} and --batches-per-rank {self.batches_per_rank}: use 2 or more, and 1 or more"
            )


@dataclass(frozen=True, slots=True)
class _Epoch:
    """The first epoch of a directory: for each batch, in packed order, its item rows and its targets."""

    directory: PackedDirectory
    rows: list[IntArray]
    targets: int
    tokens_V: IntArray
    """tokens of each item"""


def ranks(config: RanksConfig, _where: DeviceName) -> dict[str, Any]:
    """For each number of ranks and of batches: what is read and encoded with one stream, and with one for each rank."""
    found: dict[str, Any] = {"config": asdict(config), "dealt": []}
    with tempfile.TemporaryDirectory(prefix="feedloop-bench-") as scratch:
        epoch = _read(_directory(config, Path(scratch)))
        for world in config.ranks:
            for batches in config.batches_per_rank:
                for streams in (1, world):
                    order = Order(seed=config.seed, batches_per_step=world * batches, streams=streams, world=world)
                    figures = _figures(epoch, order)
                    found["dealt"].append({"ranks": world, "batches": batches, "streams": streams, **figures})
                    print(_line(found["dealt"][-1]), flush=True)
    return found


def _directory(config: RanksConfig, scratch: Path) -> PackedDirectory:
    if config.data:
        return PackedDirectory.open(Path(config.data))
    drawn = DrawnConfig(trajectories=config.trajectories, items=config.items, seed=config.seed)
    length_V = title_lengths(np.random.default_rng(config.seed), drawn.items, longest=drawn.tokens)
    return PackedDirectory.open(drawn_directory(scratch / "packed", drawn, length_V))


def _read(directory: PackedDirectory) -> _Epoch:
    blocks = [*directory.superblock_sizes(0)]
    arrays = [batch for block in arrow_superblocks(directory, blocks) for batch in block]
    return _Epoch(
        directory=directory,
        rows=[np.array(batch["item_row_N"], np.int64) for batch in arrays],
        targets=sum(sum(directory.superblocks[block][2].targets) for block in blocks),
        tokens_V=np.asarray(Lengths.of(directory.token_table()).tokens_V, np.int64),
    )


def _figures(epoch: _Epoch, order: Order) -> dict[str, Any]:
    line = Reader(epoch.directory, order).line(0)
    read = sum(len(line.last_places(rank=rank)) for rank in range(order.world))
    found: dict[str, Any] = {"superblocks_read": read, "superblocks": len(line.last_places())}
    for policy in POLICIES:
        found[policy] = _of_ranks(_planned(epoch, order, line, PlannerConfig(policy=policy)), epoch.targets)
    shared = PlannerConfig(policy="cached", share_encoding=True)
    found["cached, shared"] = _of_ranks(_planned(epoch, order, line, shared), epoch.targets)
    return found


def _planned(epoch: _Epoch, order: Order, line: Line, config: PlannerConfig) -> Iterator[list[Plan]]:
    """The plans of all ranks, step by step."""
    every = range(order.world)
    size: dict[str, Any] = {"rows": len(epoch.tokens_V), "seed": order.seed, "tokens_V": epoch.tokens_V}
    planners = [make_planner(config, rank=rank, world=order.world, **size) for rank in every]
    for step, places in enumerate(line.steps()):
        asked = [_asked(epoch, line, places[line.rank_N[places] == rank]) for rank in every]
        yield [planner.plan(step, asked) for planner in planners]


def _asked(epoch: _Epoch, line: Line, places: IntArray) -> IntArray:
    return np.concatenate([np.zeros(0, np.int64), *(epoch.rows[batch] for batch in line.batch_N[places])])


def _of_ranks(steps: Iterator[Sequence[Plan]], targets: int) -> dict[str, float]:
    """`slowest`: mean over the full steps of the slowest rank's items / the mean rank's."""
    encoded = np.array([[plan.encoded for plan in plans] for plans in steps], np.float64)
    full = encoded[:-1]
    return {
        "encoded_per_1000_clicks": round(1000 * float(encoded.sum()) / targets, 1),
        "slowest": round(float(np.mean(full.max(axis=1) / np.maximum(full.mean(axis=1), 1))), 4),
        "encoded_by_slowest_per_1000_clicks": round(1000 * float(encoded.max(axis=1).sum()) / targets, 1),
    }


def _line(dealt: dict[str, Any]) -> str:
    policies = (
        f"{policy} {dealt[policy]['encoded_per_1000_clicks']:.0f} items, slowest {dealt[policy]['slowest']:.3f}"
        for policy in (*POLICIES, "cached, shared")
    )
    return (
        f"{dealt['ranks']} ranks x {dealt['batches']} batches, {dealt['streams']} streams: "
        f"{dealt['superblocks_read']} of {dealt['superblocks']} superblocks read; {'; '.join(policies)} "
        "per 1,000 clicks"
    )


if __name__ == "__main__":
    raise SystemExit(run_plain("ranks", __doc__, RanksConfig, ranks))
