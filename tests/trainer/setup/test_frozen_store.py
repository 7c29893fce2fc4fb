"""The frozen store: killed, full, damaged or filled by several at once, it ends as an unbroken fill does."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from multiprocessing.context import ForkProcess
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from schemas.space import NoSpaceError
from tests.disks import small_disk
from tests.packed import packed_directory, tiny_plm
from trainer.data.directory import PackedDirectory
from trainer.model.pretrained import load_plm
from trainer.model.split_encoder import SplitEncoder
from trainer.setup import frozen_store as module
from trainer.setup.frozen_store import cut_shards, found_store, frozen_store

CPU = torch.device("cpu")
ITEMS = 120
ROWS = np.arange(1, ITEMS + 1)
FORK = multiprocessing.get_context("fork")


@dataclass
class Scene:
    """A language model over a packed directory; `encoded` counts the rows that pass its frozen layers here."""

    split: SplitEncoder
    directory: PackedDirectory
    encoded: int = 0
    on_rows: list[Callable[[], None]] = field(default_factory=list)
    """called before rows pass the frozen layers"""

    def fill(self, folder: Path, rows: NDArray[np.int64] = ROWS) -> Tensor:
        self.encoded, reported = 0, []
        found = frozen_store(
            self.split, self.directory, folder, rows=rows, device=CPU, progress=lambda done: reported.append(done)
        )
        assert sum(reported) == (len(rows) if reported else 0)
        return found

    def found(self, folder: Path) -> Tensor | None:
        return found_store(self.split, self.directory, folder, rows=ROWS, device=CPU)

    @property
    def shards(self) -> int:
        return len(cut_shards(self.directory.token_table(), ROWS))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, PackedDirectory]:
    folder = tmp_path_factory.mktemp("frozen")
    return tiny_plm(folder / "plm"), PackedDirectory.open(packed_directory(folder / "packed", items=ITEMS))


@pytest.fixture(autouse=True, scope="module")
def small_shards() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SHARD_TOKENS", 96)
        yield


@pytest.fixture
def scene(made: tuple[str, PackedDirectory], monkeypatch: pytest.MonkeyPatch) -> Scene:
    scene = Scene(SplitEncoder(load_plm(made[0]), frozen_layers=1), made[1])
    lower = scene.split.lower

    def counted(ids_CT: Tensor, mask_CT: Tensor) -> Tensor:
        for call in scene.on_rows:
            call()
        scene.encoded += len(ids_CT)
        return lower(ids_CT, mask_CT)

    monkeypatch.setattr(scene.split, "lower", counted)
    assert scene.shards > 6
    return scene


@pytest.fixture(scope="module")
def unbroken(made: tuple[str, PackedDirectory], tmp_path_factory: pytest.TempPathFactory) -> Tensor:
    scene = Scene(SplitEncoder(load_plm(made[0]), frozen_layers=1), made[1])
    numbers = scene.fill(tmp_path_factory.mktemp("unbroken")).clone()
    assert numbers.abs().sum(1).min() > 0
    return numbers


def in_process(work: Callable[[], object]) -> ForkProcess:
    def alone() -> None:
        torch.set_num_threads(1)  # threads do not survive a fork
        work()

    process = FORK.Process(target=alone)
    process.start()
    return process


def dies_at(number: int) -> Callable[[], None]:
    numbers = count()

    def call() -> None:
        if next(numbers) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return call


def killed(process: ForkProcess) -> bool:
    process.join(60)
    return process.exitcode == -signal.SIGKILL


@pytest.fixture
def stores(tmp_path: Path) -> Path:
    return tmp_path / "stores"


def test_a_fill_that_is_killed_while_it_computes_resumes_with_its_next_shard(
    scene: Scene, unbroken: Tensor, stores: Path
) -> None:
    scene.on_rows.append(dies_at(4))  # a shard is one chunk here
    assert killed(in_process(lambda: scene.fill(stores)))
    scene.on_rows.clear()
    assert scene.found(stores) is None
    assert torch.equal(scene.fill(stores), unbroken)
    lengths = [len(shard.row_R) for shard in cut_shards(scene.directory.token_table(), ROWS)]
    assert scene.encoded == sum(lengths[4:])
    assert torch.equal(scene.found(stores), unbroken)
    assert scene.fill(stores) is not None
    assert scene.encoded == 0


@pytest.mark.parametrize("number", range(8))
def test_wherever_writing_is_killed_the_store_ends_the_same(
    scene: Scene, unbroken: Tensor, stores: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync, dies = os.fsync, dies_at(number)  # before a line is written, before it is on the disk

    def noted(descriptor: int) -> None:
        dies()
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", noted)
        assert killed(in_process(lambda: scene.fill(stores)))
    assert scene.found(stores) is None
    assert torch.equal(scene.fill(stores), unbroken)
    assert scene.encoded < ITEMS or number < 3


def test_a_line_that_a_loss_of_power_cut_short_counts_as_none(scene: Scene, unbroken: Tensor, stores: Path) -> None:
    scene.fill(stores)
    lines = next(stores.glob("*.done"))
    lines.write_bytes(lines.read_bytes()[:-5])
    assert scene.found(stores) is None
    assert torch.equal(scene.fill(stores), unbroken)
    assert 0 < scene.encoded < 30
    assert torch.equal(scene.found(stores), unbroken)


def test_processes_that_fill_at_once_share_the_work(scene: Scene, unbroken: Tensor, stores: Path) -> None:
    encoded = FORK.Value("i", 0)
    gate = FORK.Barrier(3)

    def work() -> None:
        gate.wait(30)
        filled = scene.fill(stores)
        assert torch.equal(filled, unbroken)
        with encoded.get_lock():
            encoded.value += scene.encoded

    processes = [in_process(work) for _ in range(3)]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert encoded.value == ITEMS
    assert sorted(path.suffix for path in stores.iterdir()) == [".done", ".f16"]


def test_the_shard_of_a_process_that_dies_is_taken_over(scene: Scene, unbroken: Tensor, stores: Path) -> None:
    at_work, dead = FORK.Event(), FORK.Event()

    def hangs() -> None:
        at_work.set()
        dead.wait(60)

    scene.on_rows.append(hangs)
    first = in_process(lambda: scene.fill(stores))
    assert at_work.wait(60)
    scene.on_rows.clear()
    second = in_process(lambda: scene.fill(stores))
    lines = next(stores.glob("*.done"))
    while lines.read_bytes().count(b"\n") < scene.shards - 1:
        assert second.is_alive()
    os.kill(first.pid, signal.SIGKILL)
    first.join()
    second.join(60)
    assert second.exitcode == 0
    assert torch.equal(scene.found(stores), unbroken)


def test_where_no_locks_are_to_be_had_a_process_fills_all(
    scene: Scene, unbroken: Tensor, stores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.lockf", refuses)
    assert torch.equal(scene.fill(stores), unbroken)
    assert scene.encoded == ITEMS


def test_a_disk_that_fills_up_keeps_the_finished_shards(
    scene: Scene, unbroken: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_disk(tmp_path / "disk", "128k") as disk:
        monkeypatch.setattr("trainer.setup.shard_file.free_bytes", lambda _: 1 << 40)  # taken since it was asked
        (disk / "other").write_bytes(bytes(105_000))
        with pytest.raises(NoSpaceError, match=r"disk/store/.*\.f16: no space left there: [\d,]+ bytes are needed"):
            scene.fill(disk / "store")
        assert 0 < scene.encoded < ITEMS
        (disk / "other").unlink()
        assert torch.equal(scene.fill(disk / "store"), unbroken)
        assert 0 < scene.encoded < ITEMS


@pytest.mark.parametrize("damage", ["other", "zero", "short", "long"])
def test_a_damaged_shard_is_made_again_and_no_other(
    scene: Scene, unbroken: Tensor, stores: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.setup.shard_file.SAMPLED", 1000)
    scene.fill(stores)
    file = next(stores.glob("*.f16"))
    size = file.stat().st_size
    with file.open("r+b") as stream:
        if damage in ("short", "long"):
            stream.truncate(size - 100 if damage == "short" else size + 100)
        else:
            stream.seek(size // 2)
            stream.write(b"\x01" if damage == "other" else bytes(64))
    assert scene.found(stores) is None
    assert torch.equal(scene.fill(stores), unbroken)
    assert scene.encoded == 0 if damage == "long" else 0 < scene.encoded < 30
    assert torch.equal(scene.found(stores), unbroken)


def test_tokens_of_other_rows_are_left_unwritten(scene: Scene, unbroken: Tensor, stores: Path) -> None:
    rows = np.array([3, 4, 60, 118])
    stored = scene.fill(stores, rows)
    table = scene.directory.token_table()
    starts = table.token_start_S1[table.segment_start_V1]
    asked = np.zeros(len(stored), np.bool_)
    for row in rows:
        asked[starts[row] : starts[row + 1]] = True
    assert torch.equal(stored[asked], unbroken[asked])
    assert not stored[~asked].any()
    file = next(stores.glob("*.f16"))
    assert 512 * file.stat().st_blocks < file.stat().st_size / 2


def old_store(scene: Scene, stores: Path, numbers: Tensor) -> Path:
    """As an older feedloop wrote it."""
    scene.fill(stores)
    key = next(stores.glob("*.f16")).stem
    for path in stores.iterdir():
        path.unlink()
    np.save(stores / f"{key}.npy", numbers.numpy())
    return stores / f"{key}.npy"


def test_the_store_of_an_older_feedloop_is_used(scene: Scene, unbroken: Tensor, stores: Path) -> None:
    old = old_store(scene, stores, unbroken + 1)
    assert torch.equal(scene.fill(stores), unbroken + 1)
    assert scene.encoded == 0
    assert torch.equal(scene.found(stores), unbroken + 1)
    assert list(stores.iterdir()) == [old]


@pytest.mark.parametrize("damage", ["short", "other", "empty"])
def test_a_damaged_one_is_replaced(scene: Scene, unbroken: Tensor, stores: Path, damage: str) -> None:
    old = old_store(scene, stores, unbroken[1:] if damage == "other" else unbroken)
    if damage != "other":
        old.write_bytes(old.read_bytes()[: 1000 if damage == "short" else 0])
    assert scene.found(stores) is None
    assert torch.equal(scene.fill(stores), unbroken)
    assert not old.exists()


def test_what_dead_processes_left_half_written_is_swept(scene: Scene, stores: Path) -> None:
    stores.mkdir()
    dead = in_process(lambda: None)
    dead.join()
    left, at_work = stores / f".0123456789abcdef.npy.{dead.pid}", stores / f".0123456789abcdef.npy.{os.getpid()}"
    left.touch()
    at_work.touch()
    scene.fill(stores)
    assert not left.exists()
    assert at_work.exists()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_the_store_lies_there_if_it_fits(scene: Scene, unbroken: Tensor, stores: Path) -> None:
    device = torch.device("cuda")
    scene.fill(stores)
    found = found_store(scene.split, scene.directory, stores, rows=ROWS, device=device)
    assert found is not None
    assert found.device.type == "cuda"
    assert torch.equal(found.cpu(), unbroken)
    mapped = found_store(scene.split, scene.directory, stores, rows=ROWS, device=device, reserved=1 << 50)
    assert mapped is not None
    assert mapped.device.type == "cpu"
