"""Place: one spelling of each place; unsupported storage is rejected before anything is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import InputError
from schemas.storage.place import Place, lake_place


@pytest.mark.parametrize(
    ("named", "text"),
    [
        ("a/b", "a/b"),
        ("/a/b", "/a/b"),
        ("file:/a/b", "/a/b"),
        ("file:///a/b%20c", "/a/b c"),
        ("file://localhost/a", "/a"),
        ("FILE:/a", "/a"),
        ("s3://b/x/", "s3://b/x"),
        ("s3a://b//x/y", "s3://b/x/y"),
        ("s3n://b", "s3://b"),
        ("S3A://b/X", "s3://b/X"),
        ("gs://b/x y", "gs://b/x y"),
        ("abfs://c@a.dfs.core.windows.net/x", "abfss://c@a.dfs.core.windows.net/x"),
        ("hdfs://host:8020/x", "hdfs://host:8020/x"),
        ("catalog:main.feedloop", "catalog://main.feedloop"),
        ("catalog://feedloop", "catalog://feedloop"),
        ("2026-03-05T10:00:00.jsonl", "2026-03-05T10:00:00.jsonl"),
        ("./s3:/x", "./s3:/x"),
        ("a:b", "a:b"),
    ],
)
def test_each_place_has_one_spelling(named: str, text: str) -> None:
    place = Place.of(named)
    assert str(place) == text
    assert Place.of(place) == place
    assert Place.of(str(place)) == place


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ("dbfs:/x", "not served"),
        ("oss://b/x", "not served"),
        ("https://h/x", "not served"),
        ("magic://h/x", "not served"),
        ("s3:/b/x", "names no bucket"),
        ("s3a:b", "names no bucket"),
        ("s3://", "names no bucket"),
        ("gs:///x", "names no bucket"),
        ("hdfs:/x", "names no name node"),
        ("abfss:///x", "names no container"),
        ("file:x", "without an absolute path"),
        ("file://host/x", "with a host"),
        ("s3://b/../x", ". and .. folders"),
        ("s3://key@b/x", "environment variables"),
    ],
)
def test_what_names_no_place_is_refused(named: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        Place.of(named)


@pytest.mark.parametrize("scheme", ["s3", "gs", "https", "abfss", "hdfs", "magic"])
def test_a_secret_in_a_url_is_refused_and_not_printed(scheme: str) -> None:
    with pytest.raises(InputError) as refused:
        Place.of(f"{scheme}://name:hidden-word@host/x")
    assert "hidden-word" not in str(refused.value)


def test_a_path_object_is_taken_as_it_is() -> None:
    assert Place.of(Path("s3:/b")).is_local, "a path that some code made is no URL"


def test_parts_of_a_place() -> None:
    assert str(Place.of("s3a://b/x") / "y/z") == "s3://b/x/y/z"
    assert str(Place.of("x") / "y") == "x/y"
    assert (Place.of("s3://b/x/y").name, Place.of("x/y/").name) == ("y", "y")


def test_a_lake_that_reads_like_a_catalogue_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for named in ("main.news", "main.news.impressions"):
        with pytest.raises(InputError, match=f"Write catalog:main.news for the schema.* and ./{named} for a folder"):
            lake_place(named)
    (tmp_path / "main.news").mkdir()
    for named in ("main.news", "./other.lake", "lake", "v1.2", "s3://b/main.news"):
        assert str(lake_place(named)) == named
