"""A place that executors cannot write to is found before any work; here this process plays the executors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from pipelines.packing import flow, shared_output
from pipelines.packing.config import PackingConfig
from pipelines.packing.flow import pack
from pipelines.packing.shared_output import check_reached
from schemas.errors import InputError
from schemas.storage.place import Place
from tests.pipelines.packing.drawn_lake import drawn_lake
from tests.pipelines.packing.stored import names_below


@pytest.fixture(autouse=True)
def _on_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_output, "on_one_machine", lambda _: False)


@pytest.fixture
def executors_see(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path | str], None]:
    """Make executors write to another place than requested."""
    prober = shared_output._prober

    def see(other: Path | str) -> None:
        monkeypatch.setattr(shared_output, "_prober", lambda _: prober(Place.of(other)))

    return see


@pytest.mark.parametrize("name", ["packed", "deep/er/packed"])
def test_a_shared_folder_and_a_bucket_are_reached(spark: SparkSession, tmp_path: Path, bucket: str, name: str) -> None:
    for root in (str(tmp_path), bucket):
        check_reached(spark, Place.of(root) / name)
        assert names_below(Place.of(root)) == []
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_the_driver_alone_is_refused_before_any_work(
    spark: SparkSession, tmp_path: Path, executors_see: Callable[[Path | str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = drawn_lake(spark, tmp_path / "lake")

    def works(*_: Any, **__: Any) -> None:
        raise AssertionError("work was done")

    monkeypatch.setattr(flow, "pack_frames", works)
    executors_see(tmp_path / "not here")
    with pytest.raises(
        InputError, match=r"packed: the executor .* cannot write there \(it does not see .*or a URL such as s3://"
    ):
        pack(lake, tmp_path / "packed", PackingConfig(source="p"))
    assert [path.name for path in tmp_path.iterdir()] == ["lake"]


def test_a_path_that_is_another_folder_there_is_refused(
    spark: SparkSession, tmp_path: Path, executors_see: Callable[[Path | str], None]
) -> None:
    (tmp_path / "theirs").mkdir()
    executors_see(tmp_path / "theirs")
    with pytest.raises(InputError, match="this process does not see the file that it wrote"):
        check_reached(spark, Place.of(tmp_path / "packed"))


def test_executors_that_cannot_open_a_bucket_are_named(
    spark: SparkSession, bucket: str, executors_see: Callable[[Path | str], None]
) -> None:
    executors_see("s3://not-there-at-all/packed")
    with pytest.raises(InputError, match=r"the executor on .* cannot write there .*spark\.executorEnv\.NAME"):
        check_reached(spark, Place.of(bucket) / "packed")
    assert names_below(Place.of(bucket)) == []
