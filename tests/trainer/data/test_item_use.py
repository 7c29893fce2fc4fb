"""The arrays of item use are what the batches and impressions hold; an older directory is read without them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from schemas.errors import ContractError
from schemas.item_use import DTYPES, use_file
from schemas.manifest import MANIFEST_FILE
from tests.packed import packed_directory, tiny_plm
from trainer.config import TrainConfig
from trainer.data.description import describe
from trainer.data.directory import Packed, PackedDirectory
from trainer.data.files import Verify
from trainer.ranks.process_group import Ranks
from trainer.setup import prepare as setup
from trainer.setup.frozen_store import rows_needed
from trainer.setup.item_rows import clicks_per_row
from trainer.setup.prepare import prepare

FILES = [use_file(name) for name in DTYPES]


def config(**encoder: object) -> TrainConfig:
    plain = TrainConfig()
    return replace(plain, encoder=replace(plain.encoder, vector_width=16, pooling_width=16, **encoder))  # type: ignore[arg-type]


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    return packed_directory(tmp_path / "packed", items=400, variants=2, unlabelled=3)


def older(directory: Path) -> PackedDirectory:
    """The directory as an older feedloop packed it."""
    file = directory / MANIFEST_FILE
    raw = json.loads(file.read_text())
    raw["files"] = [entry for entry in raw["files"] if entry["path"] not in FILES]
    file.write_text(json.dumps(raw))
    for name in FILES:
        (directory / name).unlink()
    return PackedDirectory.open(directory)


def test_an_older_directory_is_read_batch_by_batch_to_the_same_result(packed: Path) -> None:
    new = PackedDirectory.open(packed)
    clicks_V, rows = clicks_per_row(new, config())
    needed = rows_needed(new, rows)
    old = older(packed)
    assert old.item_use() is None
    old_clicks_V, old_rows = clicks_per_row(old, config())
    assert np.array_equal(clicks_V, old_clicks_V)
    assert np.array_equal(rows, old_rows)
    assert np.array_equal(needed, rows_needed(old, old_rows))
    assert 0 < len(rows) < len(needed) < 400  # each array adds something
    assert describe(old).sum("clicks") == new.manifest.counts["clicks"]


def test_a_start_reads_no_batch_and_no_impression(packed: Path, tmp_path: Path) -> None:
    """With frozen layers too, whose store needs the rows of both."""
    asked = config(plm=tiny_plm(tmp_path / "plm"), frozen_layers=1)
    opened: list[str] = []
    files = type(PackedDirectory.open(packed).files)
    complete, row_groups = files.complete, files.row_groups

    def noted(self: object, name: str) -> object:
        opened.append(name)
        return complete(self, name)  # type: ignore[arg-type]

    def unread(*_: object) -> object:
        raise AssertionError("a batch is read")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "complete", noted)
        patch.setattr(files, "row_groups", unread)
        found = prepare(asked, packed, store=None, device=torch.device("cpu"), progress=lambda *_: None)
    assert files.row_groups is row_groups
    assert {name.split("/")[0] for name in opened} == {"tokens", "rows"}
    assert np.array_equal(found.trained_V, PackedDirectory.open(packed).item_use().in_batches_V)  # type: ignore[union-attr]


@pytest.mark.parametrize("verify", get_args(Verify))
@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_is_found_before_the_arrays_are_used(packed: Path, name: str, verify: Verify) -> None:
    content = bytearray((packed / name).read_bytes())
    content[-2] ^= 1
    (packed / name).write_bytes(content)
    with pytest.raises(ContractError, match=rf"{name}: sha256 .*the manifest says .*Pack again with jobs\.pack"):
        PackedDirectory.open(replace(Packed.of(packed), verify=verify)).item_use()


@pytest.mark.parametrize("damage", ["gone", "shorter"])
@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_gone_or_shorter_is_found_on_opening(packed: Path, name: str, damage: str) -> None:
    content = (packed / name).read_bytes()
    (packed / name).unlink() if damage == "gone" else (packed / name).write_bytes(content[:-1])
    with pytest.raises(ContractError, match=rf"{name}: .*Pack again with jobs\.pack"):
        PackedDirectory.open(packed)


def rewritten(directory: Path, name: str, array: np.ndarray) -> PackedDirectory:
    """The directory with another array, which its manifest describes rightly."""
    np.save(directory / name, array)
    file = directory / MANIFEST_FILE
    raw = json.loads(file.read_text())
    content = (directory / name).read_bytes()
    entry = next(entry for entry in raw["files"] if entry["path"] == name)
    entry.update(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
    file.write_text(json.dumps(raw))
    return PackedDirectory.open(directory)


def test_an_array_of_another_kind_or_length_names_the_folder(packed: Path) -> None:
    use = PackedDirectory.open(packed).item_use()
    assert use is not None
    with pytest.raises(ContractError, match=r"packed/rows: item use: in_batches_V is int64 of 1 axes.*jobs\.pack"):
        rewritten(packed, use_file("in_batches_V"), use.in_batches_V.astype(np.int64)).item_use()
    with pytest.raises(ContractError, match=r"packed/rows: .*differ in length.*jobs\.pack"):
        rewritten(packed, use_file("in_batches_V"), np.append(use.in_batches_V, True)).item_use()


def test_sums_other_than_the_manifests_are_named(tmp_path: Path) -> None:
    directory = packed_directory(tmp_path / "packed")
    use = PackedDirectory.open(directory).item_use()
    assert use is not None
    more = use.clicks_V + use.in_batches_V
    total = int(use.clicks_V.sum())
    with pytest.raises(ContractError, match=rf"packed/rows: clicks \d+, the manifest says {total}\. Pack again"):
        rewritten(directory, use_file("clicks_V"), more).item_use()


@pytest.mark.parametrize("name", DTYPES)
def test_arrays_that_differ_from_the_batches_are_found_when_all_is_inspected(packed: Path, name: str) -> None:
    use = PackedDirectory.open(packed).item_use()
    assert use is not None
    array = np.array(use.arrays()[name])
    row = int(np.flatnonzero(array)[-1])
    array[row] = 1 + array[row] if name == "clicks_V" else False
    if name == "in_batches_V":
        rewritten(packed, use_file("clicks_V"), np.where(np.arange(len(array)) == row, 0, use.clicks_V))
    where = rf"rows/(clicks_V|{name})\.npy: \d+|rows/{name}\.npy: False for item row {row}, found True"
    with pytest.raises(ContractError, match=rf"({where}).*Pack again with jobs\.pack"):
        describe(rewritten(packed, use_file(name), array))


@pytest.mark.parametrize("frozen_layers", [0, 1])
def test_ranks_wait_for_the_leader_only_while_it_fills_the_store(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frozen_layers: int
) -> None:
    events: list[str] = []

    @contextmanager
    def leader_first(ranks: Ranks) -> Iterator[None]:
        events.append(f"rank {ranks.rank} waits")
        yield
        events.append("goes on")

    for name in ("clicks_per_row", "try_encoder", "frozen_store"):
        made = getattr(setup, name)
        monkeypatch.setattr(
            setup, name, lambda *a, _made=made, _name=name, **k: (events.append(_name), _made(*a, **k))[1]
        )
    monkeypatch.setattr(setup, "leader_first", leader_first)
    asked = config(plm=tiny_plm(tmp_path / "plm"), frozen_layers=frozen_layers)
    prepare(
        asked, packed, store=None, device=torch.device("cpu"), progress=lambda *_: None, ranks=Ranks(rank=1, world=2)
    )
    filled = ["rank 1 waits", "frozen_store", "goes on"] if frozen_layers else []
    assert events == ["clicks_per_row", "try_encoder", *filled]
