"""What is verified when a directory is opened, and that other damage is found when the bytes are read."""

from __future__ import annotations

import json
import subprocess
import sys
from io import BufferedReader
from pathlib import Path

import numpy as np
import pytest

from schemas.errors import ContractError
from schemas.manifest import MANIFEST_FILE, FileEntry, Superblock
from schemas.spans import Span
from schemas.storage.place import Place
from tests.packed import packed_directory
from trainer.data import files
from trainer.data.backends import BACKENDS, BackendName
from trainer.data.directory import Packed, PackedDirectory
from trainer.data.files import Footers, Verify, sample
from trainer.data.position import Order
from trainer.data.reader import Reader

both = pytest.mark.parametrize("backend", ["petastorm", "arrow"])


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """Four batch files of three row groups."""
    return packed_directory(tmp_path / "packed", size=1, superblock=4, files=4)


@pytest.fixture
def no_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a directory whose sample is small in proportion."""
    monkeypatch.setattr(files, "SMALL_SAMPLE", 0)


def opened(directory: Path, verify: Verify = "sizes") -> PackedDirectory:
    return PackedDirectory.open(Packed(Place.of(directory), verify=verify))


def read(directory: PackedDirectory, backend: BackendName = "arrow") -> int:
    reader = Reader(directory, Order(seed=5, batches_per_step=1), BACKENDS[backend])
    return sum(len(step) for step in reader.steps(0))


def pieces_of(directory: Path) -> list[tuple[str, int]]:
    """(path, position of its middle byte) of every span of the batch files."""
    found = []
    for entry in PackedDirectory.open(directory).manifest.files:
        ends = np.cumsum([span.bytes for span in entry.spans]).tolist()
        found += [(entry.path, end - span.bytes // 2) for end, span in zip(ends, entry.spans, strict=True)]
    return found


def alter(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def without_spans(directory: Path) -> None:
    """As an older feedloop wrote the manifest."""
    file = directory / MANIFEST_FILE
    raw = json.loads(file.read_text())
    for entry in raw["files"]:
        entry["spans"] = []
    file.write_text(json.dumps(raw))


def found_at_opening(directory: Path, verify: Verify) -> bool:
    try:
        opened(directory, verify)
    except ContractError:
        return True
    return False


@pytest.mark.parametrize(("verify", "least", "most"), [("sizes", 1, 1), ("sample", 1, 4), ("full", 16, 16)])
def test_opening_finds_damage_of_the_share_that_is_verified(
    packed: Path, no_sample: None, verify: Verify, least: int, most: int
) -> None:
    found = 0
    for name, at in pieces_of(packed):
        alter(packed / name, at)
        found += found_at_opening(packed, verify)
        alter(packed / name, at)
    assert least <= found <= most
    opened(packed, verify)


@both
def test_damage_that_opening_did_not_see_is_named_with_its_row_group_when_it_is_read(
    packed: Path, no_sample: None, backend: BackendName
) -> None:
    seen = 0
    for number, (name, at) in enumerate(pieces_of(packed)):
        alter(packed / name, at)
        if not found_at_opening(packed, "sizes"):
            part = "its footer" if number % 4 == 3 else f"row group {number % 4}"
            with pytest.raises(
                ContractError, match=rf"{name}, {part}: sha256 .*the manifest says .*jobs\.pack"
            ) as error:
                read(opened(packed), backend)
            assert str(error.value).startswith(str(packed))
            seen += 1
        alter(packed / name, at)
    assert seen == 15
    assert read(opened(packed), backend) == 48


@both
def test_damage_while_a_run_reads_is_found_in_a_later_epoch(packed: Path, backend: BackendName) -> None:
    """A row group is checked each time: a disk may fail between two epochs."""
    directory = opened(packed, "full")
    assert read(directory, backend) == 48
    alter(packed / "batches/part-2.parquet", 300)
    with pytest.raises(ContractError, match=r"batches/part-2\.parquet, row group 0: sha256"):
        read(directory, backend)


@both
def test_an_older_directory_without_spans_is_checked_file_by_file_before_it_is_read(
    packed: Path, no_sample: None, backend: BackendName
) -> None:
    without_spans(packed)
    assert read(opened(packed), backend) == 48
    found = 0
    for number in range(4):
        name = f"batches/part-{number}.parquet"
        alter(packed / name, 300)
        found += found_at_opening(packed, "sizes")
        assert found_at_opening(packed, "full")
        if not found_at_opening(packed, "sizes"):
            with pytest.raises(ContractError, match=rf"{name}: sha256 .*the manifest says .*jobs\.pack"):
                read(opened(packed), backend)
        alter(packed / name, 300)
    assert found == 1


@pytest.mark.parametrize("name", ["tokens/token_values.npy", "evaluation/part-0.parquet", "batches/_common_metadata"])
def test_other_files_are_checked_when_they_are_read(packed: Path, name: str) -> None:
    alter(packed / name, 150)
    directory = opened(packed)
    with pytest.raises(ContractError, match=rf"{name}: sha256 .*the manifest says .*Pack again with jobs\.pack"):
        {"t": directory.token_table, "e": directory.evaluation, "b": lambda: read(directory, "petastorm")}[name[0]]()
    with pytest.raises(ContractError, match=rf"{name}: sha256"):
        opened(packed, "full")


def entry_of(spans: list[Span]) -> FileEntry:
    blocks = [
        Superblock(batches=(n,), targets=(1,), weights=(1.0,), items=(1,), trajectories=1)
        for n in range(len(spans) - 1)
    ]
    size = sum(span.bytes for span in spans)
    return FileEntry(
        path="batches/a", sha256="0" * 64, bytes=size, rows=len(blocks), superblocks=tuple(blocks), spans=tuple(spans)
    )


def test_a_sample_is_bounded_in_bytes_however_large_the_directory() -> None:
    rng = np.random.default_rng(1)
    spans = [Span(bytes=3 << 20, sha256=rng.bytes(32).hex()) for _ in range(2001)]
    entry = entry_of(spans)
    assert len(sample([entry], "sizes")) == 5  # of 16 MiB
    assert len(sample([entry], "sample")) == 200
    assert sorted(number for _, number in sample([entry], "full")) == list(range(2001))
    chosen = {number for _, number in sample([entry], "sample")}
    assert chosen == {number for _, number in sample([entry], "sample")}
    assert {number for _, number in sample([entry], "sizes")} < chosen
    assert max(chosen) - min(chosen) > 1500  # from all over the files


def test_the_footers_of_the_files_read_last_are_held(packed: Path) -> None:
    footers, read_again = Footers(), []

    def row_groups(number: int) -> int:
        def end() -> BufferedReader:
            read_again.append(number)
            return (packed / f"batches/part-{number % 4}.parquet").open("rb")

        return int(footers.of(str(number), end).num_row_groups)

    assert [row_groups(number) for number in [*range(100), *range(68, 100)]] == [3] * 132
    assert read_again == list(range(100))
    row_groups(67)
    row_groups(68)
    assert read_again[100:] == [67, 68]


@both
def test_a_directory_of_more_files_than_may_be_open_is_verified_and_read(tmp_path: Path, backend: BackendName) -> None:
    directory = packed_directory(tmp_path / "packed", trajectories=120, size=1, superblock=1, files=120)
    program = (
        "import resource, sys\n"
        "from schemas.storage.place import Place\n"
        "from trainer.data.backends import BACKENDS\n"
        "from trainer.data.directory import Packed, PackedDirectory\n"
        "from trainer.data.position import Order\n"
        "from trainer.data.reader import Reader\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))\n"
        "for verify in ('sizes', 'full'):\n"
        "    opened = PackedDirectory.open(Packed(Place.of(sys.argv[1]), verify=verify))\n"
        "    reader = Reader(opened, Order(seed=1, batches_per_step=1), BACKENDS[sys.argv[2]])\n"
        "    print(sum(len(step) for step in reader.steps(0)))\n"
    )
    command = [sys.executable, "-c", program, str(directory), backend]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["120", "120"]
