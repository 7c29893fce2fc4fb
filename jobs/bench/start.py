"""Benchmark: seconds from opening a directory to the first planned step, by its size and the number of processes; and
what the loader costs per step. Needs what `steps` needs.

Sizes take turns in the same processes, after a start of each that is not timed: later ones read the page cache, and no
library for the first time.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, cast, get_args

from jobs.bench.drawn_directory import DrawnConfig
from jobs.bench.drawn_run import ModelConfig, drawn_files
from jobs.bench.plain_options import run_plain, words_of
from schemas.storage.place import Place
from trainer.config import TrainConfig
from trainer.cost.flops import device_name
from trainer.data.directory import Packed
from trainer.data.files import Verify
from trainer.loop.trainer import Trainer
from trainer.ranks.process_group import Ranks, launched, process_group, summed, wait_for_all
from trainer.setup.automatic import DeviceName, device_of
from trainer.setup.prepare import prepare

PARTS = ("prepare", "trainer", "first_step")


@dataclass(frozen=True, slots=True, kw_only=True)
class StartConfig(ModelConfig):
    """Sizes to measure."""

    size: str = "minilm"
    """tiny, minilm or base: the encoder's shape; a larger one takes longer to load and try"""
    trajectories: tuple[int, ...] = (100_000, 1_000_000)
    """total windows of clicks"""
    items: int = 8_192
    """V: number of item rows"""
    live_items: int = 4_000
    """news of a moment; the content of a step depends on it, not on the sizes"""
    batch_trajectories: int = 64
    """trajectories of a packed batch"""
    ranks: tuple[int, ...] = (1, 2)
    """numbers of processes that start together"""
    rounds: int = 7
    """starts of each size, alternating; medians are reported"""
    loader_ranks: tuple[int, ...] = (1, 8)
    """numbers of ranks for which the loader of one is timed; a step takes as many batches as the largest of them"""
    loader_steps: int = 48
    """steps that each loader makes in a round"""
    verify: str = "sizes"
    """sums that are checked on opening: sizes, sample or full"""
    folder: str = ""
    """folder for the random data, kept for the next time; empty = a temporary folder"""

    def __post_init__(self) -> None:
        if self.verify not in get_args(Verify):
            raise ValueError(f"--verify is {self.verify!r}: use {', '.join(get_args(Verify))}")
        if min(self.rounds, self.loader_steps, *self.ranks, *self.loader_ranks) < 1:
            raise ValueError("--rounds, --loader-steps, --ranks and --loader-ranks: use 1 or more")


def start(config: StartConfig, where: DeviceName) -> dict[str, Any]:
    """Seconds of a start for each number of ranks and each size, and milliseconds of a loader's step."""
    if launched():
        return _starts(config, where)
    with _folder(config) as folder:
        held = replace(config, folder=str(folder))
        starts = {
            _ranks(world): _child(held, where, world) if world > 1 else _starts(held, where) for world in held.ranks
        }
        loader = _loaders(held, where)
    for name, found in starts.items():
        print(_line(name, found), flush=True)
    for name, each in loader.items():
        print(f"loader of one of {name}: {each['milliseconds']:.1f} ms a step", flush=True)
    return {"config": asdict(config), "device": device_name(device_of(where)), "start": starts, "loader": loader}


@contextmanager
def _folder(config: StartConfig) -> Iterator[Path]:
    if config.folder:
        Path(config.folder).mkdir(parents=True, exist_ok=True)
        yield Path(config.folder)
        return
    with tempfile.TemporaryDirectory(prefix="feedloop-bench-") as folder:
        yield Path(folder)


def _child(config: StartConfig, where: DeviceName, world: int) -> dict[str, Any]:
    """The starts of several ranks under torchrun, which all print the same."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(world)]
    command = [sys.executable, *launcher, "-m", "jobs.bench.start", *words_of(config, where)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, env=dict(os.environ))
    if done.returncode != 0:
        raise ValueError(f"{_ranks(world)} ended with exit code {done.returncode}; the messages are above")
    return dict(json.loads(done.stdout.rstrip().rpartition("\n")[2]))


def _files(config: StartConfig, trajectories: int) -> tuple[TrainConfig, Packed]:
    drawn = DrawnConfig(
        trajectories=trajectories,
        items=config.items,
        batch_trajectories=config.batch_trajectories,
        live_items=config.live_items,
        seed=config.seed,
    )
    training, data = drawn_files(Path(config.folder), config, drawn)
    return training, Packed(Place.of(data), verify=cast(Verify, config.verify))


def _starts(config: StartConfig, where: DeviceName) -> dict[str, Any]:
    """Medians of the starts of each size on the ranks of this process."""
    files = {size: _files(config, size) for size in config.trajectories}
    with process_group() as ranks:
        found: dict[int, list[dict[str, float]]] = {size: [] for size in files}
        for _ in range(config.rounds + 1):
            for size, (training, packed) in files.items():
                found[size].append(_start(training, packed, where, ranks))
    sizes = {f"{size:,}": _medians(every[1:]) for size, every in found.items()}
    ratios = {
        ending: sizes[f"{max(files):,}"][name] / sizes[f"{min(files):,}"][name]
        for ending, name in (("", "seconds"), ("_processor", "processor_seconds"))
    }
    return {"sizes": sizes, **{f"largest_to_smallest{ending}": ratio for ending, ratio in ratios.items()}}


def _start(training: TrainConfig, packed: Packed, where: DeviceName, ranks: Ranks) -> dict[str, float]:
    """Seconds of one start and of its parts on the slowest rank, and processor seconds of all ranks."""
    gc.collect()
    wait_for_all()
    used, marks = time.process_time(), [time.perf_counter()]
    prepared = prepare(training, packed, store=None, device=device_of(where), progress=lambda *_: None, ranks=ranks)
    marks.append(time.perf_counter())
    trainer = Trainer(prepared, ranks)
    marks.append(time.perf_counter())
    with closing(trainer.epoch_steps(packed_steps=1)) as steps:
        next(steps)
        marks.append(time.perf_counter())
        used = time.process_time() - used
    seconds = {"seconds": marks[-1] - marks[0]}
    seconds |= {name: end - begin for name, begin, end in zip(PARTS, marks, marks[1:], strict=False)}
    slowest = {name: max(_of_every_rank(each, ranks)) for name, each in seconds.items()}
    return slowest | {"processor_seconds": sum(_of_every_rank(used, ranks))}


def _of_every_rank(number: float, ranks: Ranks) -> list[float]:
    return summed([number if rank == ranks.rank else 0.0 for rank in range(ranks.world)])


def _loaders(config: StartConfig, where: DeviceName) -> dict[str, Any]:
    """Milliseconds of the loader of the first of W ranks for one step: it reads its batches and plans them."""
    training, packed = _files(config, min(config.trajectories))
    training = replace(training, run=replace(training.run, batches_per_step=max(config.loader_ranks)))
    prepared = prepare(training, packed, store=None, device=device_of(where), progress=lambda *_: None)
    every: dict[str, list[float]] = {_ranks(world): [] for world in config.loader_ranks}
    for _ in range(config.rounds + 1):
        for world in config.loader_ranks:
            trainer = Trainer(prepared, Ranks(0, world))
            began = time.perf_counter()
            with closing(trainer.epoch_steps(packed_steps=config.loader_steps)) as steps:
                made = sum(1 for _ in steps)
            every[_ranks(world)].append(1e3 * (time.perf_counter() - began) / made)
    return {name: {"milliseconds": median(each[1:])} for name, each in every.items()}


def _medians(every: list[dict[str, float]]) -> dict[str, float]:
    return {name: median(each[name] for each in every) for name in every[0]}


def _ranks(world: int) -> str:
    return f"{world} rank" if world == 1 else f"{world} ranks"


def _line(name: str, found: dict[str, Any]) -> str:
    sizes = ", ".join(f"{size} trajectories {each['seconds']:.3f} s" for size, each in found["sizes"].items())
    ratios = f"{found['largest_to_smallest']:.3f}, by processor time {found['largest_to_smallest_processor']:.3f}"
    return f"start, {name}: {sizes}; largest / smallest {ratios}"


if __name__ == "__main__":
    raise SystemExit(run_plain("start", __doc__, StartConfig, start))
