"""The cache: entries are complete or absent, bounded, shared by processes, and do not change what is read."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from schemas.errors import InputError
from schemas.space import NoSpaceError
from tests.conftest import REPOSITORY
from tests.packed import packed_directory
from tests.trainer.data.stored import cache_in, kept, same, steps, uploaded
from trainer.data import cache as module
from trainer.data.cache import Cache, CacheConfig, WrongSumError
from trainer.data.directory import Packed, PackedDirectory


def content(number: int, size: int = 1000) -> bytes:
    return bytes(np.random.default_rng(number).bytes(size))


class Source:
    """Writes contents, and counts how often."""

    def __init__(self) -> None:
        self.brought: list[int] = []

    def __call__(self, number: int) -> Callable[[Path], None]:
        def fetch(to: Path) -> None:
            self.brought.append(number)
            to.write_bytes(content(number))

        return fetch


def read(cache: Cache, source: Source, number: int) -> bytes:
    wanted = content(number)
    with cache.opened(hashlib.sha256(wanted).hexdigest(), len(wanted), source(number)) as stream:
        return stream.read()


def entry_of(config: CacheConfig, number: int) -> Path:
    assert config.cache_dir is not None
    name = hashlib.sha256(content(number)).hexdigest()
    return config.cache_dir / "content" / name[:2] / name


def test_least_recently_used_entries_are_evicted_first_and_the_bound_holds(tmp_path: Path) -> None:
    config, source = cache_in(tmp_path, 10_000), Source()
    cache = Cache(config)
    for number in range(30):
        assert read(cache, source, number) == content(number)
        assert read(cache, source, 0) == content(0)
        assert sum(kept(config).values()) <= 10_000
    assert source.brought == list(range(30))  # the first was used all the time
    assert entry_of(config, 29).exists()
    assert not entry_of(config, 1).exists()


def test_open_or_mapped_entries_stay_and_reading_works_without_room(tmp_path: Path) -> None:
    config, source = cache_in(tmp_path, 0), Source()
    cache = Cache(config)
    first = content(0)
    stream = cache.opened(hashlib.sha256(first).hexdigest(), len(first), source(0))
    mapped = np.memmap(stream, np.uint8, mode="r")
    stream.close()
    for number in (1, 2, 1):
        assert read(cache, source, number) == content(number)
    assert entry_of(config, 0).exists()
    assert bytes(mapped) == first
    assert source.brought == [0, 1, 2, 1]
    del mapped
    read(cache, source, 3)
    assert not entry_of(config, 0).exists()


@pytest.mark.parametrize("damage", ["flipped", "cut", "emptied", "longer"])
@pytest.mark.parametrize("when", ["by this process", "before"])
def test_a_damaged_entry_is_fetched_again(tmp_path: Path, damage: str, when: str) -> None:
    config, source = cache_in(tmp_path), Source()
    cache = Cache(config)
    read(cache, source, 0)
    intact = content(0)
    entry_of(config, 0).write_bytes(
        {"flipped": b"\0" + intact[1:], "cut": intact[:-1], "emptied": b"", "longer": intact + b"1"}[damage]
    )
    if when == "before":
        cache = Cache(config)
    assert read(cache, source, 0) == intact
    assert source.brought == [0, 0]


def test_bytes_with_another_sum_raise_an_error_and_are_not_kept(tmp_path: Path) -> None:
    config = cache_in(tmp_path)
    with pytest.raises(WrongSumError, match=r"sha256 .*the manifest says"):
        Cache(config).opened("0" * 64, 3, lambda to: to.write_bytes(b"abc") and None)
    assert kept(config) == {}
    assert [*(tmp_path / "cache" / "unfinished").iterdir()] == []


def test_threads_that_want_one_entry_fetch_it_once(tmp_path: Path) -> None:
    source, cache = Source(), Cache(cache_in(tmp_path))
    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(lambda number: read(cache, source, number % 4), range(64)))
    assert found == [content(number % 4) for number in range(64)]
    assert sorted(source.brought) == [0, 1, 2, 3]


def test_a_full_disk_is_one_message_after_entries_not_in_use_are_evicted(tmp_path: Path) -> None:
    config, source = cache_in(tmp_path), Source()
    cache = Cache(config)
    read(cache, source, 0)
    tries: list[bool] = []

    def full(to: Path) -> None:
        to.write_bytes(b"half")
        tries.append(entry_of(config, 0).exists())
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(to))

    with pytest.raises(NoSpaceError, match=r"cache: no space left there: 1,000 bytes are needed"):
        cache.opened(hashlib.sha256(content(1)).hexdigest(), 1000, full)
    assert tries == [True, False]
    assert [*(tmp_path / "cache" / "unfinished").iterdir()] == []


KILLED = """
import os, signal, sys
from pathlib import Path
from trainer.data.cache import Cache, CacheConfig

def fetch(to):
    to.write_bytes(b"half")
    (Path(sys.argv[1]) / "begun").touch()
    signal.pause()

Cache(CacheConfig(cache_dir=Path(sys.argv[1]) / "cache")).opened(sys.argv[2], 1000, fetch)
"""


def test_a_killed_process_leaves_no_entry_and_its_files_are_removed(tmp_path: Path) -> None:
    name = hashlib.sha256(content(0)).hexdigest()
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path), name], cwd=REPOSITORY)
    while not (tmp_path / "begun").exists():
        assert child.poll() is None
        time.sleep(0.02)
    config, source = cache_in(tmp_path), Source()
    unfinished = tmp_path / "cache" / "unfinished"
    assert kept(config) == {}
    read(Cache(config), source, 1)  # a cache just opened checks the size of its folder
    assert len([*unfinished.iterdir()]) == 1, "it is at work"
    waits = threading.Timer(0.2, lambda: child.send_signal(signal.SIGKILL))
    waits.start()
    assert read(Cache(config), source, 0) == content(0)  # waits for the other process, which dies, and fetches it
    waits.join()
    assert child.wait() == -signal.SIGKILL
    read(Cache(config), source, 2)
    assert [*unfinished.iterdir()] == []


def test_the_cache_works_on_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", none)
    config, source = cache_in(tmp_path, 3_000), Source()
    cache = Cache(config)
    for number in [*range(6), *range(6)]:
        assert read(cache, source, number) == content(number)
    assert sum(kept(config).values()) <= 3_000


def test_the_folder_is_the_users_own_or_among_the_scratch_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    assert Cache(CacheConfig()).folder == tmp_path / "own" / "feedloop"
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(module.tempfile, "tempdir", str(tmp_path))
    found = Cache(CacheConfig()).folder
    assert found == tmp_path / f"feedloop-cache-{os.getuid()}"
    assert found.stat().st_mode & 0o77 == 0
    other = os.getuid() + 1
    monkeypatch.setattr(module.os, "getuid", lambda: other)
    with pytest.raises(InputError, match=r"belongs to another user.*--cache-dir"):
        Cache(CacheConfig())


@pytest.mark.parametrize("size", [0, 9_000])
@pytest.mark.parametrize("backend", ["petastorm", "arrow"])
def test_a_tiny_cache_changes_no_batch(bucket: str, tmp_path: Path, size: int, backend: str) -> None:
    local = packed_directory(tmp_path / "packed", trajectories=96)
    place, cache = uploaded(local, bucket), cache_in(tmp_path, size)
    for epoch in range(2):
        assert same(list(steps(local, cache, backend, epoch=epoch)), list(steps(place, cache, backend, epoch=epoch)))  # type: ignore[arg-type]
    in_use = PackedDirectory.open(Packed(place, cache)).token_table()
    in_use_bytes = sum(array.nbytes + 128 for array in in_use.arrays().values())
    assert sum(kept(cache).values()) <= size + in_use_bytes + 9_000  # in use at the last check
    assert len(kept(cache)) < 16


RANK = """
import hashlib, json, sys
from pathlib import Path
from schemas.storage.place import Place
import schemas.storage.objects as objects
from tests.trainer.data.stored import cache_in, steps
from dataclasses import astuple

asked = 0
for name in ("read", "fetch"):
    def counted(self, key, *rest, _was=getattr(objects.ObjectStore, name)):
        global asked
        asked += not key.endswith("manifest.json")
        return _was(self, key, *rest)
    setattr(objects.ObjectStore, name, counted)
digest = hashlib.sha256()
for epoch in range(3):
    for step in steps(Place.of(sys.argv[1]), cache_in(Path(sys.argv[2])), sys.argv[3], epoch=epoch):
        for batch in step:
            for array in astuple(batch):
                digest.update(array.tobytes())
print(json.dumps([asked, digest.hexdigest()]))
"""


def test_processes_share_a_cache_and_fetch_each_entry_once(bucket: str, tmp_path: Path) -> None:
    local = packed_directory(tmp_path / "packed", trajectories=96, superblock=1)
    place = uploaded(local, bucket)
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(place), str(tmp_path), backend],
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
        )
        for backend in ("arrow", "petastorm")
    ]
    found = [json.loads(rank.communicate(timeout=120)[0]) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0]
    assert found[0][1] == found[1][1]
    assert found[0][0] + found[1][0] == len(kept(cache_in(tmp_path)))
