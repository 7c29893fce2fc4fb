"""Packing to a URL, on a real S3 server: the files of a local run, one commit, and no other files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from pipelines.lake.tables import Lake
from pipelines.packing import tasks
from pipelines.packing.build_folder import find_manifest, open_build, remove_other_builds
from pipelines.packing.config import PackingConfig
from pipelines.packing.flow import pack
from schemas.errors import InputError
from schemas.manifest import BATCH_FOLDER, MANIFEST_FILE, FileEntry, Manifest
from schemas.storage import files
from schemas.storage.copies import fetch
from schemas.storage.place import Place
from tests.pipelines.packing.drawn_lake import drawn_lake
from tests.pipelines.packing.stored import manifest_at, names_below, no_leftovers, sums
from tests.pipelines.packing.test_write import manifest_of
from trainer.data.cache import CacheConfig
from trainer.data.description import describe
from trainer.data.directory import Packed, PackedDirectory

CONFIG = PackingConfig(source="p", batch_trajectories=4, batch_items=30, shard_trajectories=25)


@pytest.fixture(scope="module")
def lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return drawn_lake(spark, tmp_path_factory.mktemp("lake"))


@pytest.fixture
def out(bucket: str) -> Place:
    return Place.of(bucket) / "some/packed"


@pytest.mark.parametrize(
    "config", [replace(CONFIG, batch_tokens=45), replace(CONFIG, shard_by="items", order="shp_kway", variants=2)]
)
def test_a_bucket_gets_the_files_that_a_folder_gets(
    lake: Lake, tmp_path: Path, out: Place, config: PackingConfig
) -> None:
    here, there = pack(lake, tmp_path / "packed", config), pack(lake, out, config)
    assert sums(there) == sums(here)
    assert all(bool(entry.spans) == bool(entry.superblocks) for entry in there.files)
    assert (there.counts, there.inputs, there.tokens, there.config) == (
        *(here.counts, here.inputs, here.tokens, here.config),
    )
    assert manifest_at(out) == there
    assert no_leftovers(out)
    opened = PackedDirectory.open(Packed.of(out, CacheConfig(cache_dir=tmp_path / "cache")))
    assert describe(opened).summary == describe(PackedDirectory.open(tmp_path / "packed")).summary
    fetch(out, tmp_path / "copy")  # as it lies there, with its build
    assert PackedDirectory.open(tmp_path / "copy").evaluation() == opened.evaluation()
    assert "build" not in (tmp_path / "packed" / MANIFEST_FILE).read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "copy", "packed"]


def test_lake_and_directory_may_both_be_in_a_bucket(
    spark: SparkSession, lake: Lake, tmp_path: Path, out: Place
) -> None:
    there = pack(drawn_lake(spark, Place.of(f"{out}-lake")), out, CONFIG)
    assert sums(there) == sums(pack(lake, tmp_path / "packed", CONFIG))
    assert no_leftovers(out)


def test_packing_again_leaves_it_and_other_options_are_refused(lake: Lake, out: Place) -> None:
    manifest = pack(lake, out, CONFIG)
    before = dict(files.below(out))
    assert pack(lake, out, CONFIG) == manifest
    with pytest.raises(InputError, match=r"batch_items was 30, is 31.*Name another --out"):
        pack(lake, out, replace(CONFIG, batch_items=31))
    assert dict(files.below(out)) == before


def test_a_failed_run_leaves_nothing(lake: Lake, out: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        assert names_below(out), "files were on their way"
        raise RuntimeError("the machine is tired")

    monkeypatch.setattr(tasks, "write_evaluation", fails)
    with pytest.raises(RuntimeError, match="tired"):
        pack(lake, out, CONFIG)
    assert names_below(out) == []


def before(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, what: Callable[[], Any]) -> list[Any]:
    """The first call of a function happens after something else; the list gets what that gave."""
    function, found = getattr(module, name), []

    def late(*positional: Any, **named: Any) -> Any:
        monkeypatch.setattr(module, name, function)
        found.append(what())
        return function(*positional, **named)

    monkeypatch.setattr(module, name, late)
    return found


MOMENTS = {
    "it has written batches": (tasks, "write_evaluation"),
    "all but its manifest stands": (files, "create"),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_of_two_that_pack_the_same_one_wins_and_both_are_content(
    lake: Lake, out: Place, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """The second begins and ends while the first is at work."""
    won = before(monkeypatch, *MOMENTS[moment], lambda: pack(lake, out, CONFIG))
    assert pack(lake, out, CONFIG) == won[0] == manifest_at(out)
    assert no_leftovers(out)


@pytest.mark.parametrize("moment", MOMENTS)
def test_of_two_that_pack_otherwise_one_wins_and_the_other_says_so(
    lake: Lake, out: Place, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    won = before(monkeypatch, *MOMENTS[moment], lambda: pack(lake, out, replace(CONFIG, seed=2)))
    with pytest.raises(InputError, match=r"some/packed: packed before from other inputs or options \(seed was 2, is 1"):
        pack(lake, out, CONFIG)
    assert manifest_at(out) == won[0]
    assert no_leftovers(out)


def test_a_living_run_is_not_swept_by_one_that_begins_or_fails(lake: Lake, out: Place) -> None:
    def fails() -> None:
        with open_build(out):
            raise RuntimeError

    with open_build(out) as living:
        files.write(living.folder / "batches/x", b"12")
        with pytest.raises(RuntimeError):
            fails()
        with pytest.raises(InputError, match="no trajectories of source 'x'"):
            pack(lake, out, replace(CONFIG, source="x"))
        assert names_below(out) == [f"{living.name}/batches/x"]
        living.commit(replace(manifest_of(FileEntry(path="batches/x", sha256="0" * 64, bytes=2)), build=living.name))
    assert no_leftovers(out)


def test_builds_of_dead_runs_are_nothing_and_are_swept_once_a_manifest_stands(lake: Lake, out: Place) -> None:
    for name in ("batches/shard-00000-x.parquet", "tokens/token_values.npy", "work/ordered.arrow"):
        files.write(out / f"build-0123456789ab/{name}", b"half")
    files.write(Place.of(f"{out}-2") / "build-0123456789ab/x", b"of another directory")
    assert find_manifest(out) is None
    manifest = pack(lake, out, CONFIG)
    assert no_leftovers(out)
    files.write(out / "build-ba9876543210/x", b"late")  # of a run that was not done
    files.write(manifest.root(out) / BATCH_FOLDER / "late.parquet", b"late")  # of an attempt that was not done
    assert pack(lake, out, CONFIG) == manifest
    assert no_leftovers(out)
    assert names_below(Place.of(f"{out}-2")) == ["build-0123456789ab/x"]


def commit(out: Place, *, meanwhile: Callable[[Place], None] = lambda _: None) -> Manifest:
    """A directory of one listed file and one of a failed task attempt."""
    with open_build(out) as made:
        for name in ("lost", "won"):
            files.write(made.folder / f"batches/{name}.parquet", b"12")
        entry = FileEntry(path="batches/won.parquet", sha256="0" * 64, bytes=2)
        manifest = replace(manifest_of(entry), build=made.name)
        meanwhile(made.folder)
        made.commit(manifest)
    return manifest


@pytest.mark.parametrize("error", [FileExistsError("a second try found it"), InputError("no answer")])
def test_what_the_store_put_stands_where_its_answer_was_lost(
    out: Place, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    put = files.create

    def unheard(place: Place, data: bytes) -> None:
        put(place, data)
        raise error

    monkeypatch.setattr(files, "create", unheard)
    if isinstance(error, FileExistsError):
        commit(out)
    else:
        with pytest.raises(InputError, match="no answer"):
            commit(out)
    assert find_manifest(out) == manifest_at(out)
    if isinstance(error, FileExistsError):
        assert no_leftovers(out)


def test_a_directory_is_not_committed_without_a_file_of_its_own(out: Place) -> None:
    with pytest.raises(InputError, match=r"won.parquet: removed during packing. Run it again"):
        commit(out, meanwhile=lambda folder: files.remove(folder / "batches/won.parquet"))
    assert names_below(out) == []


def test_a_directory_that_lost_a_file_is_named(out: Place) -> None:
    manifest = commit(out)
    assert find_manifest(out) == manifest
    files.write(manifest.root(out) / "batches/won.parquet", b"123")
    with pytest.raises(
        InputError, match=r"packed/build-\w+/batches/won.parquet: missing or changed since it was packed"
    ):
        find_manifest(out)


@pytest.mark.parametrize("name", ["packed/notes.txt", "packed/mine/notes.txt", "packed/build-mine/x", "packed"])
def test_something_else_in_the_place_is_left_alone(bucket: str, name: str) -> None:
    files.write(Place.of(bucket) / name, b"mine")
    with pytest.raises(InputError, match=r"packed: exists, and is not a packed directory"):
        find_manifest(Place.of(bucket) / "packed")
    assert names_below(Place.of(bucket)) == [name]


@pytest.mark.parametrize("text", ["{}", '{"format_version": 1}', "no JSON"])
def test_a_manifest_that_is_none_of_ours_is_left_alone(out: Place, text: str) -> None:
    files.write(out / MANIFEST_FILE, text.encode())
    with pytest.raises(InputError, match=r"packed: its manifest is of another version of feedloop, or damaged"):
        find_manifest(out)


@pytest.mark.parametrize("build", ["../other", "batches", "build-0123", "/build-0123456789ab"])
def test_a_manifest_names_no_folder_but_that_of_a_run(out: Place, build: str) -> None:
    text = manifest_of().to_json().replace('"config"', f'"build": "{build}", "config"')
    files.write(out / MANIFEST_FILE, text.encode())
    with pytest.raises(InputError, match="which is no name of a run's folder"):
        find_manifest(out)


def test_a_complete_bucket_can_be_the_directory(bucket: str) -> None:
    manifest = commit(Place.of(bucket))
    assert find_manifest(Place.of(bucket)) == manifest
    assert no_leftovers(Place.of(bucket))


def test_a_copy_of_a_directory_of_this_machine_is_one(tmp_path: Path, out: Place) -> None:
    files.write(out / "batches/x", b"12")
    files.write(
        out / MANIFEST_FILE, manifest_of(FileEntry(path="batches/x", sha256="0" * 64, bytes=2)).to_json().encode()
    )
    found = find_manifest(out)
    assert found is not None
    remove_other_builds(out, found)
    assert names_below(out) == ["batches/x", MANIFEST_FILE]
