"""Both back ends deliver the same batches in our order, and nothing that the manifest does not list."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.errors import ContractError, InputError
from schemas.manifest import MANIFEST_FILE, Manifest
from schemas.token_table import file_of
from tests.packed import packed_directory
from trainer.data.backends import BACKENDS, BackendName
from trainer.data.batch import StepBatch
from trainer.data.directory import Arrays, PackedDirectory
from trainer.data.petastorm_reader import ALLOWED
from trainer.data.position import Order
from trainer.data.prefetch import prefetch
from trainer.data.reader import Reader


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return packed_directory(tmp_path / "packed")


def read(path: Path, backend: BackendName, *, epoch: int = 0, first_step: int = 0) -> list[list[StepBatch]]:
    reader = Reader(PackedDirectory.open(path), Order(seed=5, batches_per_step=2), BACKENDS[backend])
    return list(reader.steps(epoch, first_step=first_step))


def same(left: StepBatch, right: StepBatch) -> bool:
    return all(np.array_equal(getattr(left, name), getattr(right, name)) for name in StepBatch.__slots__)


def test_petastorm_and_arrow_deliver_the_same_steps(directory: Path) -> None:
    for epoch in range(3):
        left, right = (read(directory, backend, epoch=epoch) for backend in ("petastorm", "arrow"))
        assert [len(step) for step in left] == [2] * 6
        assert all(same(a, b) for x, y in zip(left, right, strict=True) for a, b in zip(x, y, strict=True))


def test_a_path_with_spaces_and_any_letters_is_read(tmp_path: Path) -> None:
    path = packed_directory(tmp_path / "meine Läufe" / "packed [1]")
    assert [len(step) for step in read(path, "petastorm")] == [2] * 6


@pytest.mark.parametrize("backend", ["petastorm", "arrow"])
def test_fifty_epochs_through_the_thread_lose_and_reorder_nothing(directory: Path, backend: BackendName) -> None:
    """Each epoch against the batches as they were packed, in the order that the position alone says."""
    opened = PackedDirectory.open(directory)
    reader = Reader(opened, Order(seed=5, batches_per_step=2), BACKENDS[backend])
    plain = Reader(opened, Order(seed=0, batches_per_step=1))
    packed = {place: batch for (place,), (batch,) in zip(plain.places(0), plain.steps(0), strict=True)}
    lines = set()
    for epoch in range(50):
        places = list(reader.places(epoch))
        lines.add(str(places))
        delivered = list(prefetch(reader.steps(epoch), depth=3))
        assert [len(step) for step in delivered] == [len(step) for step in places]
        for step, wanted in zip(delivered, places, strict=True):
            assert all(same(batch, packed[place]) for batch, place in zip(step, wanted, strict=True))
    assert len(lines) > 15  # of four superblocks' 24 orders


@pytest.mark.parametrize("backend", ["petastorm", "arrow"])
def test_ranks_read_disjoint_batches_that_make_up_the_step(directory: Path, backend: BackendName) -> None:
    opened = PackedDirectory.open(directory)
    full = list(Reader(opened, Order(seed=5, batches_per_step=5), BACKENDS[backend]).steps(3))
    ranks = [
        list(Reader(opened, Order(seed=5, batches_per_step=5, rank=rank, world=3), BACKENDS[backend]).steps(3))
        for rank in range(3)
    ]
    for number, step in enumerate(full):
        for place, batch in enumerate(step):
            assert same(ranks[place % 3][number][place // 3], batch)
    assert [sum(len(rank[number]) for rank in ranks) for number in range(3)] == [5, 5, 2]


class Asked:
    """A back end that records which superblocks it is asked for."""

    def __init__(self, backend: BackendName) -> None:
        self.backend, self.wanted = BACKENDS[backend], list[int]()

    def __call__(self, directory: PackedDirectory, wanted: Sequence[int]) -> Iterator[list[Arrays]]:
        self.wanted += wanted
        return self.backend(directory, wanted)


@pytest.mark.parametrize("backend", ["petastorm", "arrow"])
def test_each_rank_reads_its_own_superblocks_of_the_same_steps(directory: Path, backend: BackendName) -> None:
    opened = PackedDirectory.open(directory)
    full = list(Reader(opened, Order(seed=5, batches_per_step=4, streams=2), BACKENDS[backend]).steps(1))
    asked = [Asked(backend) for _ in range(2)]
    orders = [Order(seed=5, batches_per_step=4, streams=2, rank=rank, world=2) for rank in range(2)]
    ranks = [list(Reader(opened, order, own).steps(1)) for order, own in zip(orders, asked, strict=True)]
    for step, first, second in zip(full, *ranks, strict=True):
        assert [len(first), len(second)] == [2, 2]
        assert all(same(*both) for both in zip(step, [first[0], second[0], first[1], second[1]], strict=True))
    assert sorted(asked[0].wanted + asked[1].wanted) == [0, 1, 2, 3]
    everyone = Reader(opened, orders[1], BACKENDS[backend]).steps_by_rank(1, all_ranks=True)
    for dealt, *own in zip(everyone, *ranks, strict=True):
        assert all(same(*both) for rank in range(2) for both in zip(dealt[rank], own[rank], strict=True))


def test_figures_of_steps_come_from_the_manifest_alone(directory: Path) -> None:
    reader = Reader(PackedDirectory.open(directory), Order(seed=5, batches_per_step=5, streams=3))
    steps = list(reader.steps(2))
    assert reader.steps_in(2) == len(steps) == 3
    assert reader.targets(2) == [sum(batch.targets for batch in step) for step in steps]
    assert reader.weights(2, first_step=1) == pytest.approx([sum(b.weight_sum for b in step) for step in steps[1:]])


@pytest.mark.parametrize("backend", ["petastorm", "arrow"])
def test_epochs_use_the_variants_in_turn(tmp_path: Path, backend: BackendName) -> None:
    path = packed_directory(tmp_path / "packed", variants=2)
    opened = PackedDirectory.open(path)
    assert [list(opened.superblock_sizes(epoch)) for epoch in range(4)] == [[0, 1], [2, 3]] * 2
    targets = [sum(batch.targets for step in read(path, backend, epoch=epoch) for batch in step) for epoch in range(4)]
    listed = [sum(sum(block.targets) for _, _, block in opened.superblocks if block.variant == v) for v in (0, 1)]
    assert targets == listed * 2


@pytest.mark.parametrize("backend", ["petastorm", "arrow"])
def test_reading_resumes_at_any_step(directory: Path, backend: BackendName) -> None:
    full = read(directory, backend, epoch=1)
    for first in range(len(full) + 1):
        rest = read(directory, backend, epoch=1, first_step=first)
        assert len(rest) == len(full) - first
        assert all(same(a, b) for x, y in zip(rest, full[first:], strict=True) for a, b in zip(x, y, strict=True))


def test_a_folder_without_a_manifest_raises_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no manifest\.json.*jobs\.pack"):
        PackedDirectory.open(tmp_path)


@pytest.mark.parametrize("damage", ["missing", "truncated", "altered"])
def test_a_damaged_file_raises_an_error_that_names_it(directory: Path, damage: str) -> None:
    path = directory / "batches" / "part-1.parquet"
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[:-100])
    else:
        path.write_bytes(content[:1000] + bytes([content[1000] ^ 1]) + content[1001:])
    with pytest.raises(ContractError, match=r"part-1\.parquet.*jobs\.pack"):
        PackedDirectory.open(directory)


@pytest.mark.parametrize("backend", ["petastorm", "arrow"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "garbled"])
def test_a_file_that_is_damaged_while_training_is_named(directory: Path, backend: BackendName, damage: str) -> None:
    reader = Reader(PackedDirectory.open(directory), Order(seed=5, batches_per_step=1), BACKENDS[backend])
    path = directory / "batches" / "part-1.parquet"
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(content[: len(content) // 2] if damage == "truncated" else b"PAR1" + bytes(len(content)))
    with pytest.raises(ContractError, match=r"(part-1\.parquet|batches).*[Pp]ack again"):
        for _ in prefetch(reader.steps(0), depth=2):
            pass
    assert not any(thread.name == "prefetch" for thread in threading.enumerate())


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("backend", ["petastorm", "arrow"])
def test_a_directory_of_many_files_is_read_with_few_of_them_open(tmp_path: Path, backend: BackendName) -> None:
    directory = packed_directory(tmp_path / "packed", size=1, superblock=1, files=48)
    opened = PackedDirectory.open(directory)
    assert len({path for path, _, _ in opened.superblocks}) == 48
    before, most = open_files(), 0
    for _ in Reader(opened, Order(seed=5, batches_per_step=2), BACKENDS[backend]).steps(0):
        most = max(most, open_files())
    assert most < before + 8


@pytest.mark.parametrize("backend", ["petastorm", "arrow"])
def test_too_many_open_files_are_not_reported_as_damage(directory: Path, backend: BackendName) -> None:
    opened = PackedDirectory.open(directory)
    blocks = BACKENDS[backend](opened, range(len(opened.superblocks)))
    next(blocks)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    fillers = [os.open(os.devnull, os.O_RDONLY) for _ in range(highest + 2 - open_files())]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(fillers, default=highest) + 1, limits[1]))
    try:
        with pytest.raises(InputError, match=r"part-\d\.parquet.*Too many open files.*ulimit -n.*--resume") as refused:
            next(blocks)
        assert not isinstance(refused.value, ContractError)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for file in fillers:
            os.close(file)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE, errno.ENFILE])
def test_errors_of_the_machine_are_not_reported_as_damage(directory: Path, number: int) -> None:
    opened = PackedDirectory.open(directory)
    with pytest.raises(InputError, match=rf"part-0\.parquet.*{os.strerror(number)}") as refused, opened.reading(0):
        raise OSError(number, os.strerror(number))
    assert not isinstance(refused.value, ContractError)
    assert "Pack again" not in str(refused.value)


def test_another_format_version_raises_an_error_with_advice(directory: Path) -> None:
    file = directory / MANIFEST_FILE
    raw = json.loads(file.read_text()) | {"format_version": 99}
    file.write_text(json.dumps(raw))
    with pytest.raises(ContractError, match=r"format version 99.*jobs\.pack"):
        PackedDirectory.open(directory)


def rewrite_manifest(directory: Path, change: dict[str, str]) -> None:
    """Put new hashes of changed files into the manifest, as an attacker would."""
    raw = json.loads((directory / MANIFEST_FILE).read_text())
    for entry in raw["files"]:
        content = (directory / entry["path"]).read_bytes()
        entry["sha256"], entry["bytes"] = hashlib.sha256(content).hexdigest(), len(content)
    (directory / MANIFEST_FILE).write_text(json.dumps(raw | change))


@pytest.mark.parametrize("backend", ["petastorm", "arrow"])
def test_lost_rows_are_noticed(directory: Path, backend: BackendName) -> None:
    file = directory / MANIFEST_FILE
    raw = json.loads(file.read_text())
    first = next(entry for entry in raw["files"] if entry["superblocks"])
    first["superblocks"][0]["targets"][0] += 1
    raw["counts"]["targets"] += 1
    file.write_text(json.dumps(raw))
    with pytest.raises(ContractError, match=r"targets .*the manifest says"):
        read(directory, backend)


class Payload:
    """What a hostile schema would run."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (eval, ("open('owned', 'w').close()",))


def test_a_hostile_schema_runs_nothing(directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = directory / "batches" / "_common_metadata"
    schema = pq.read_schema(path)
    hostile = {**schema.metadata, b"dataset-toolkit.unischema.v1": pickle.dumps(Payload())}
    pq.write_metadata(pa.schema(schema).with_metadata(hostile), path)
    rewrite_manifest(directory, {})
    with pytest.raises(ContractError, match=r"_common_metadata: .*builtins\.eval"):
        read(directory, "petastorm")
    assert not (tmp_path / "owned").exists()
    assert not any(module == "builtins" for module, _ in ALLOWED)


def test_the_token_table_comes_back_as_written(directory: Path) -> None:
    opened = PackedDirectory.open(directory)
    table = opened.token_table()
    assert table.rows == opened.manifest.tokens.rows
    assert (directory / file_of("token_values")).stat().st_size < 2 * len(table.token_values) + 200


def test_the_manifest_survives_json(directory: Path) -> None:
    text = (directory / MANIFEST_FILE).read_text()
    assert Manifest.from_json(text, "x").to_json() == text


def test_reading_needs_no_spark(directory: Path) -> None:
    program = (
        "import sys; sys.modules['pyspark'] = None\n"
        "from pathlib import Path\n"
        "from trainer.data.backends import BACKENDS\n"
        "from trainer.data.directory import PackedDirectory\n"
        "from trainer.data.position import Order\n"
        "from trainer.data.reader import Reader\n"
        "reader = Reader(PackedDirectory.open(Path(sys.argv[1])), Order(seed=1, batches_per_step=1), "
        "BACKENDS['petastorm'])\n"
        "print(sum(len(step) for step in reader.steps(0)))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, str(directory)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["12"]
