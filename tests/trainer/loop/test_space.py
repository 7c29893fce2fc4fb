"""A full disk under each writer of the trainer: one message with path and bytes, and complete files stay."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import deltalake
import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from schemas.space import NoSpaceError
from tests.disks import small_disk
from tests.exported import SOURCE, checkpoint_at, config_of, write_news
from tests.packed import packed_directory, tiny_plm
from trainer.checkpoint.files import Checkpoint, load_checkpoint, save_checkpoint
from trainer.loop.metrics_log import RunLog
from trainer.serve.export_folder import export_folder
from trainer.serve.export_run import export
from trainer.setup.automatic import EncodeConfig
from trainer.setup.prepare import prepare

CPU = torch.device("cpu")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", "64k") as folder:
        yield folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packed directory and its lake, a language model, a checkpoint."""
    folder = tmp_path_factory.mktemp("space")
    packed_directory(folder / "packed", items=30, config={"source": SOURCE})
    write_news(folder / "lake", 30)
    checkpoint_at(folder / "run" / "checkpoint" / "step-00000007", config_of(tiny_plm(folder / "plm")))
    return folder


def checkpoint(numbers: int) -> Checkpoint:
    return Checkpoint(tensors={"model": {"a": torch.ones(numbers)}}, state={"position": {"step": 3}})


def test_a_checkpoint_that_finds_no_room_leaves_the_one_before(disk: Path) -> None:
    save_checkpoint(checkpoint(1000), disk / "step-1")
    with pytest.raises(NoSpaceError, match=r"disk/step-2: no space left there: 80,000 bytes are needed, [\d,]+ are f"):
        save_checkpoint(checkpoint(20_000), disk / "step-2")
    assert [path.name for path in disk.iterdir()] == ["step-1"]
    assert torch.equal(load_checkpoint(disk / "step-1").tensors["model"]["a"], torch.ones(1000))
    with pytest.raises(NoSpaceError):  # the same step again
        save_checkpoint(checkpoint(20_000), disk / "step-1")
    load_checkpoint(disk / "step-1")


def test_a_frozen_store_that_finds_no_room_is_refused_before_it_is_filled(made: Path, disk: Path) -> None:
    (disk / "other").write_bytes(b"x" * 60_000)
    with pytest.raises(NoSpaceError, match=r"\.f16: no space left there: [\d,]+ bytes are needed, [\d,]+ are free"):
        prepare(
            config_of(str(made / "plm")), made / "packed", store=disk / "store", device=CPU, progress=lambda *_: None
        )
    assert list((disk / "store").iterdir()) == []


@pytest.mark.parametrize("in_lake", [True, False])
def test_an_export_that_finds_no_room_leaves_nothing_behind(made: Path, disk: Path, in_lake: bool) -> None:
    with pytest.raises(NoSpaceError, match=r"disk/out: no space left there: [\d,]+ bytes are needed, [\d,]+ are free"):
        export(
            made / "run" / "checkpoint",
            made / "packed",
            disk / "out",
            lake=made / "lake" if in_lake else None,
            kind="flat",
            store=None,
            encode=EncodeConfig(device="cpu"),
            progress=lambda *_: None,
        )
    assert [path.name for path in disk.iterdir()] == [".out.lock"]  # empty and unlocked: it stays next to the folder


@pytest.mark.parametrize("library", ["faiss", "arrow", "delta"])
def test_every_library_that_an_export_writes_with_is_understood(disk: Path, library: str) -> None:
    table = pa.table({"a": np.random.rand(50_000)})
    index = faiss.IndexFlatIP(64)
    index.add(np.ones((2000, 64), np.float32))  # type: ignore[call-arg]
    write = {
        "faiss": lambda folder: faiss.write_index(index, str(folder / "index")),
        "arrow": lambda folder: pq.write_table(table, folder / "news.parquet"),
        "delta": lambda folder: deltalake.write_deltalake(str(folder / "table"), table),
    }[library]
    wanted = pytest.raises(NoSpaceError, match="disk/out: no space left there: 9 bytes")
    with wanted, export_folder(disk / "out", needed=9) as folder:
        write(folder)
    assert not (disk / "out").exists()


def test_lines_of_metrics_that_find_no_room_name_the_file_and_those_before_stay(disk: Path) -> None:
    file, line = disk / "metrics.jsonl", json.dumps({"step": 0}) + "\n"
    log = RunLog(file, every=1, total_steps=10**9)
    file.write_text(line * (65_536 // len(line) - 2))
    with pytest.raises(NoSpaceError, match=r"metrics\.jsonl: no space left there: [\d,]+ bytes are needed"):
        log._write(1, 0)
    with pytest.raises(NoSpaceError, match=r"metrics\.jsonl: no space left there"):
        log.load_state_dict(log.state_dict())
    assert file.read_text().startswith(line * 1000)
