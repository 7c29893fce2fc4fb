"""A directory behind a URL gives the local directory's batches bit for bit; errors name damaged files."""

from __future__ import annotations

import json
import pickle
import re
from contextlib import ExitStack
from datetime import timedelta
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from schemas.errors import ContractError, InputError
from schemas.manifest import MANIFEST_FILE
from schemas.storage import files as storage
from schemas.storage import objects
from schemas.storage.files import store_of
from schemas.storage.place import Place
from tests.object_store import new_bucket, s3_server
from tests.packed import packed_directory
from tests.trainer.data.stored import cache_in, kept, same, steps, uploaded
from trainer.data import files
from trainer.data.backends import BackendName
from trainer.data.cache import CacheConfig
from trainer.data.description import describe
from trainer.data.directory import Packed, PackedDirectory, read_manifest
from trainer.data.files import Verify

both = pytest.mark.parametrize("backend", ["petastorm", "arrow"])
BATCHES = "batches/part-1.parquet"


@pytest.fixture
def local(tmp_path: Path) -> Path:
    return packed_directory(tmp_path / "packed", variants=2)


@pytest.fixture
def place(local: Path, bucket: str) -> Place:
    return uploaded(local, bucket)


def change_manifest(place: Place, change: dict[str, object], *, of: str = "part-1") -> None:
    """Change the entry of one file, as an attacker would."""
    raw = json.loads(storage.read(place / MANIFEST_FILE, largest=1 << 20))
    next(entry for entry in raw["files"] if of in entry["path"]).update(change)
    storage.write(place / MANIFEST_FILE, json.dumps(raw).encode())


@both
def test_the_same_steps_as_from_disk_in_any_order_and_from_any_step(
    local: Path, place: Place, tmp_path: Path, backend: BackendName
) -> None:
    cache = cache_in(tmp_path)
    for epoch in range(3):
        full = list(steps(local, cache, backend, epoch=epoch))
        assert same(full, list(steps(place, cache, backend, epoch=epoch)))
        for first in range(1, len(full) + 1):
            assert same(full[first:], list(steps(place, cache, backend, epoch=epoch, first_step=first)))


def test_everything_else_is_the_same_too(local: Path, place: Place, tmp_path: Path) -> None:
    here, there = PackedDirectory.open(local), PackedDirectory.open(Packed(place, cache_in(tmp_path)))
    assert (here.manifest, here.manifest_sha256) == (there.manifest, there.manifest_sha256)
    assert here.evaluation().equals(there.evaluation())
    for name, array in here.token_table().arrays().items():
        found = there.token_table().arrays()[name]
        assert found.dtype == array.dtype
        assert np.array_equal(found, array)
    assert describe(here).summary == describe(there).summary
    assert there.place_of(0) == f"{place}/batches/part-0.parquet, row group 0"
    assert isinstance(there.token_table().token_values, np.memmap)


class Counted:
    """The ranges that a store reads."""

    def __init__(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[str, int, int | None]] = []
        kind = type(store_of(place)[0])
        read = kind.read

        def counted(store: object, key: str, start: int = 0, length: int | None = None) -> bytes:
            if key.endswith(".parquet"):
                self.asked.append((Path(key).name, start, length))
            return read(store, key, start, length)  # type: ignore[arg-type]

        monkeypatch.setattr(kind, "read", counted)


@both
def test_a_row_group_is_fetched_once_by_its_range_and_no_batch_at_opening(
    place: Place, tmp_path: Path, backend: BackendName, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Counted(place, monkeypatch)
    cache = cache_in(tmp_path)
    PackedDirectory.open(Packed(place, cache))
    assert counted.asked == []
    for epoch in (0, 2, 4):  # one variant, which is one file
        list(steps(place, cache, backend, epoch=epoch))
    (entry,) = (entry for entry in read_manifest(place)[0].files if entry.path == "batches/part-0.parquet")
    sizes = [span.bytes for span in entry.spans]
    wanted = {("part-0.parquet", sum(sizes[:number]), size) for number, size in enumerate(sizes)}
    assert sorted(counted.asked) == sorted(wanted)


def test_more_of_a_directory_is_fetched_where_more_is_to_be_verified(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "SMALL_SAMPLE", 0)
    counted = Counted(place, monkeypatch)
    fetched: dict[str, set[str]] = {}
    every: tuple[Verify, ...] = ("sizes", "sample", "full")
    for verify in every:
        cache = CacheConfig(cache_dir=tmp_path / verify)
        PackedDirectory.open(Packed(place, cache, verify))
        fetched[verify] = set(kept(cache))
    entries = read_manifest(place)[0].files
    spans = {span.sha256 for entry in entries for span in entry.spans}
    impressions = {entry.sha256 for entry in entries if entry.path.startswith("evaluation/")}
    others = {entry.sha256 for entry in entries if not entry.superblocks} - impressions
    assert fetched["sizes"] == others
    assert len(fetched["sample"] - others) == 1
    assert fetched["sample"] - others < spans
    assert fetched["full"] == others | spans | impressions
    assert len(counted.asked) == 1 + len(spans)


@pytest.mark.parametrize("name", [BATCHES, "evaluation/part-0.parquet"])
def test_full_verification_finds_changed_bytes_before_they_are_read(place: Place, tmp_path: Path, name: str) -> None:
    altered(place, name, 100)
    with pytest.raises(ContractError, match=rf"s3://.*/{name}.*: sha256 .*the manifest says"):
        PackedDirectory.open(Packed(place, cache_in(tmp_path), "full"))


@both
def test_a_directory_packed_before_there_were_spans_is_read_file_by_file(
    local: Path, place: Place, tmp_path: Path, backend: BackendName, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in ("part-0", "part-1"):
        change_manifest(place, {"spans": []}, of=part)
    counted, cache = Counted(place, monkeypatch), cache_in(tmp_path)
    for epoch in range(2):
        assert same(list(steps(local, cache, backend, epoch=epoch)), list(steps(place, cache, backend, epoch=epoch)))
    assert counted.asked == []
    read = [entry for entry in read_manifest(place)[0].files if not entry.path.startswith("evaluation/")]
    assert kept(cache) == {entry.sha256: entry.bytes for entry in read}


def altered(place: Place, name: str, at: int) -> None:
    content = storage.read(place / name, largest=1 << 20)
    storage.write(place / name, content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])


@both
@pytest.mark.parametrize(
    ("at", "where"), [(50, "row group 0"), (-3_500, "row group 1"), (-100, "its footer")], ids=lambda value: str(value)
)
def test_changed_bytes_of_batches_raise_an_error_with_the_row_group_when_they_are_read(
    place: Place, tmp_path: Path, backend: BackendName, at: int, where: str
) -> None:
    altered(place, BATCHES, at % storage.head(place / BATCHES).bytes)  # type: ignore[union-attr]
    list(steps(place, cache_in(tmp_path), backend, epoch=0))
    with pytest.raises(ContractError, match=rf"s3://.*/{BATCHES}, {where}: sha256 .*the manifest says .*jobs\.pack"):
        list(steps(place, cache_in(tmp_path), backend, epoch=1))
    assert list((tmp_path / "cache" / "unfinished").iterdir()) == []


@pytest.mark.parametrize("name", ["tokens/token_values.npy", "rows/clicks_V.npy", "batches/_common_metadata"])
def test_changed_bytes_of_other_files_raise_an_error_at_opening(place: Place, tmp_path: Path, name: str) -> None:
    altered(place, name, 100)
    with pytest.raises(ContractError, match=rf"s3://.*/{name}: sha256 .*the manifest says"):
        PackedDirectory.open(Packed(place, cache_in(tmp_path)))


@pytest.mark.parametrize("name", [BATCHES, "tokens/token_values.npy"])
def test_a_file_that_is_missing_or_of_another_size_raises_an_error_at_opening(
    place: Place, tmp_path: Path, name: str
) -> None:
    content = storage.read(place / name, largest=1 << 20)
    storage.write(place / name, content[:-1])
    with pytest.raises(ContractError, match=rf"{name}: {len(content) - 1} bytes, the manifest says {len(content)}"):
        PackedDirectory.open(Packed(place, cache_in(tmp_path)))
    storage.remove(place / name)
    with pytest.raises(ContractError, match=rf"{name}: the manifest lists this file, but it is missing"):
        PackedDirectory.open(Packed(place, cache_in(tmp_path)))


@both
def test_a_file_that_vanishes_while_training_is_named(place: Place, tmp_path: Path, backend: BackendName) -> None:
    rest = steps(place, cache_in(tmp_path), backend, epoch=1)
    storage.remove(place / BATCHES)
    with pytest.raises(ContractError, match=rf"s3://.*/{BATCHES}, (row group \d|its footer): gone or damaged"):
        list(rest)


def test_a_place_without_a_manifest_raises_an_error(bucket: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"s3://.*/none: no manifest\.json.*jobs\.pack"):
        PackedDirectory.open(Packed(Place.of(bucket) / "none", cache_in(tmp_path)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"path": "../../etc/passwd"}, "matching regex"),
        ({"path": "/etc/passwd"}, "matching regex"),
        ({"spans": [{"bytes": 10**15, "sha256": "0" * 64}]}, "1 spans, where 2 row groups and a footer belong"),
        ({"spans": [{"bytes": 10**15, "sha256": "0" * 64}] * 3}, "and spans of 30{14}|spans of 30+"),
        ({"spans": [{"bytes": 0, "sha256": "0" * 64}] * 3}, ">= 1"),
        ({"spans": [{"bytes": 1, "sha256": "../" * 20}] * 3}, "matching regex"),
        ({"spans": [{"bytes": 1, "sha256": "0" * 64, "offset": -1}] * 3}, "spans|no such name"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_hostile_manifest_raises_an_error_before_anything_is_fetched(
    place: Place, tmp_path: Path, change: dict[str, object], said: str
) -> None:
    change_manifest(place, change)
    with pytest.raises(ContractError, match=rf"s3://.*/{MANIFEST_FILE}.*({said}).*jobs\.pack"):
        PackedDirectory.open(Packed(place, cache_in(tmp_path)))
    assert not (tmp_path / "cache").exists()


@both
def test_footers_and_spans_that_do_not_fit_are_read_all_the_same(
    local: Path, place: Place, tmp_path: Path, backend: BackendName
) -> None:
    """Spans cut a file independently of its row groups: a read may need several of them."""
    content = storage.read(place / BATCHES, largest=1 << 20)
    ends = [0, 700, len(content) - 3_000, len(content)]
    spans = [content[a:b] for a, b in pairwise(ends)]
    listed = [{"bytes": len(span), "sha256": sha256(span).hexdigest()} for span in spans]
    change_manifest(place, {"spans": listed})
    cache = cache_in(tmp_path)
    assert same(list(steps(local, cache, backend, epoch=1)), list(steps(place, cache, backend, epoch=1)))


def test_a_store_that_dies_midway_is_one_plain_message_with_the_row_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = packed_directory(tmp_path / "packed", size=1, superblock=1, files=48)
    monkeypatch.setattr(objects, "_PATIENCE", {"max_retries": 1, "retry_timeout": timedelta(seconds=2)})
    with ExitStack() as server:
        for name, value in server.enter_context(s3_server()).items():
            monkeypatch.setenv(name, value)
        place = uploaded(packed, new_bucket())
        begun = {
            backend: steps(place, CacheConfig(cache_dir=tmp_path / backend), backend)
            for backend in ("arrow", "petastorm")
        }
        for rest in begun.values():
            next(rest)
        server.close()  # which stops the store
        for rest in begun.values():
            with pytest.raises(
                InputError, match=r"s3://.*part-\d+\.parquet, .*: cannot be read .*--resume auto"
            ) as raised:
                list(rest)
            assert not isinstance(raised.value, ContractError)
            assert re.search("row group 0|its footer", str(raised.value))


class Payload:
    """What a hostile schema would run."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (eval, ("open('owned', 'w').close()",))


def test_a_hostile_schema_behind_a_url_runs_nothing(
    local: Path, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = local / "batches/_common_metadata"
    hostile = {**pq.read_schema(path).metadata, b"dataset-toolkit.unischema.v1": pickle.dumps(Payload())}
    pq.write_metadata(pq.read_schema(path).with_metadata(hostile), path)
    place, content = uploaded(local, bucket), path.read_bytes()
    change_manifest(place, {"bytes": len(content), "sha256": sha256(content).hexdigest()}, of="_common")
    with pytest.raises(ContractError, match=r"s3://.*_common_metadata: .*builtins\.eval"):
        list(steps(place, cache_in(tmp_path), "petastorm"))
    assert not (tmp_path / "owned").exists()


def test_files_that_the_manifest_does_not_list_are_not_seen(place: Place, local: Path, tmp_path: Path) -> None:
    storage.write(place / "batches/left-by-a-dead-run.parquet", b"PAR1")
    cache = cache_in(tmp_path)
    assert same(list(steps(local, cache, "petastorm")), list(steps(place, cache, "petastorm")))
