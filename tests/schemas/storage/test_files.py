"""The same calls give the same results on local files and on a real S3 server."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from schemas.errors import InputError
from schemas.storage import files
from schemas.storage.copies import fetched, published
from schemas.storage.hadoop import MISSING as NO_HDFS
from schemas.storage.place import Place

NAMES = ["a.txt", "b/c d.txt", "b/é%20#?.txt", "b/x:y=1/z", "c"]


@pytest.fixture(params=["local", "s3", pytest.param("hdfs", marks=pytest.mark.slow)])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "local":
        return Place.of(tmp_path) / "folder"
    if request.param == "hdfs":
        return Place.of(request.getfixturevalue("name_node")) / tmp_path.name
    return Place.of(request.getfixturevalue("bucket")) / "some/folder"


def names_in(folder: Place) -> list[str]:
    """The names, without colons on HDFS, which allows none."""
    return [name.replace(":", ";") for name in NAMES] if folder.text.startswith("hdfs") else NAMES


def put(folder: Place) -> None:
    for name in names_in(folder):
        files.write(folder / name, name.encode())


def test_what_was_written_is_read(folder: Place) -> None:
    put(folder)
    for name in names_in(folder):
        assert files.read(folder / name, largest=100) == name.encode()
        assert files.exists(folder / name)
    found = files.head(folder / "a.txt")
    assert found is not None
    assert found.bytes == 5
    assert files.exists(folder)
    assert files.is_folder(folder)
    assert files.head(folder) is None
    assert files.bytes_below(folder) == sum(len(name.encode()) for name in names_in(folder))
    files.write(folder / "a.txt", b"new")
    assert files.read(folder / "a.txt", largest=3) == b"new"


def test_files_are_listed_by_name_and_behind_a_name(folder: Place) -> None:
    put(folder)
    assert [name for name, _ in files.below(folder)] == sorted(names_in(folder))
    assert [name for name, _ in files.below(folder, after="b/c d.txt")] == sorted(names_in(folder))[2:]
    assert [name for name, _ in files.below(folder / "b")] == sorted(
        name[2:] for name in names_in(folder) if name[0] == "b"
    )
    assert [*files.below(folder / "nothing")] == []
    store, key = files.store_of(folder)
    folders, inside = store.inside(key)
    assert [os.path.basename(name) for name in folders] == ["b"]
    assert [os.path.basename(entry.key) for entry in inside] == ["a.txt", "c"]


def test_ranges(folder: Place) -> None:
    files.write(folder / "f", b"0123456789")
    store, key = files.store_of(folder / "f")
    assert [store.read(key, 2, 3), store.read(key, 8, 5), store.read(key, 7), store.read(key, 10, 4)] == [
        *(b"234", b"89", b"789", b"")
    ]
    assert store.read(key, 4, 0) == b""


def test_what_is_absent(folder: Place) -> None:
    place = folder / "absent"
    assert files.head(place) is None
    assert not files.exists(place)
    with pytest.raises(InputError, match="no such file"):
        files.read(place, largest=1)
    store, key = files.store_of(place)
    with pytest.raises(FileNotFoundError):
        store.read(key)
    files.remove(place)
    files.remove_folder(place)


def test_a_file_that_is_too_large_is_not_read(folder: Place) -> None:
    files.write(folder / "f", b"1234")
    with pytest.raises(InputError, match="4 bytes, at most 3"):
        files.read(folder / "f", largest=3)


def test_of_many_who_create_a_file_one_succeeds(folder: Place) -> None:
    def tries(number: int) -> bool:
        try:
            files.create(folder / "manifest", str(number).encode())
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        won = [number for number, made in enumerate(threads.map(tries, range(16))) if made]
    assert len(won) == 1
    assert files.read(folder / "manifest", largest=9) == str(won[0]).encode()
    assert [name for name, _ in files.below(folder)] == ["manifest"]


def test_a_folder_is_removed_with_all_below_it_and_nothing_else(folder: Place) -> None:
    put(folder)
    files.write(folder / "bb", b"1")
    files.remove_folder(folder / "b")
    assert [name for name, _ in files.below(folder)] == ["a.txt", "bb", "c"]


def test_copies_here_and_there(folder: Place, tmp_path: Path) -> None:
    with published(folder / "out", last=["m", "n"]) as here:
        for name in (*names_in(folder), "m", "n"):
            (here / name).parent.mkdir(parents=True, exist_ok=True)
            (here / name).write_text(name)
    assert [name for name, _ in files.below(folder / "out")] == sorted([*names_in(folder), "m", "n"])
    with fetched(folder / "out") as here:
        assert {name: (here / name).read_text() for name in names_in(folder)} == {
            name: name for name in names_in(folder)
        }
        assert here.name == "out"
    with fetched(folder / "out/m") as here:
        assert here.read_text() == "m"
    if not folder.is_local:
        assert not here.exists(), "the copy is gone"
        with pytest.raises(InputError, match="no such file or folder"), fetched(folder / "nothing"):
            pass


def test_what_fails_is_not_published(bucket: str) -> None:
    place = Place.of(bucket) / "out"

    def fails() -> None:
        with published(place) as here:
            here.mkdir()
            (here / "half").write_text("1")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert not files.exists(place)


def test_a_bucket_that_is_not_there_is_named(bucket: str) -> None:
    with pytest.raises(InputError, match="s3://no-such-bucket-here/x"):
        [*files.below(Place.of("s3://no-such-bucket-here/x"))]
    with pytest.raises(InputError, match="s3://no-such-bucket-here: there is no such bucket"):
        files.write(Place.of("s3://no-such-bucket-here/x"), b"1")


@pytest.mark.slow
def test_what_a_name_node_refuses_is_reported_with_the_place(name_node: str) -> None:
    with pytest.raises(InputError, match=r"(?s)/x:y: .*Invalid.*hold no colon"):
        files.write(Place.of(name_node) / "x:y", b"1")


@pytest.mark.skipif(NO_HDFS is None, reason="hdfs-native is installed")
def test_a_library_that_is_not_installed_is_named() -> None:
    with pytest.raises(InputError, match="hdfs-native"):
        files.check_served(Place.of("hdfs://localhost:1/x"))
