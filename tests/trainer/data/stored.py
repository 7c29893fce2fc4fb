"""A packed directory on disk and the same behind a URL, and what is read from each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np

from schemas.storage.copies import publish
from schemas.storage.place import Place
from trainer.data.backends import BACKENDS, BackendName
from trainer.data.batch import StepBatch
from trainer.data.cache import CacheConfig
from trainer.data.directory import Packed, PackedDirectory, ReadConfig
from trainer.data.position import Order
from trainer.data.reader import Reader


def uploaded(folder: Path, bucket: str) -> Place:
    """The same directory in the bucket."""
    place = Place.of(bucket) / "some/packed"
    publish(folder, place, last=["manifest.json"])
    return place


def cache_in(folder: Path, size: int = 1 << 30) -> ReadConfig:
    return ReadConfig(cache_dir=folder / "cache", cache_bytes=size)


def steps(
    place: Place | Path, cache: CacheConfig, backend: BackendName = "arrow", *, epoch: int = 0, first_step: int = 0
) -> Iterator[list[StepBatch]]:
    opened = PackedDirectory.open(Packed(Place.of(place), cache))
    return Reader(opened, Order(seed=5, batches_per_step=2), BACKENDS[backend]).steps(epoch, first_step=first_step)


def same(left: list[list[StepBatch]], right: list[list[StepBatch]]) -> bool:
    """Whether all steps are the same bit for bit."""
    return [len(step) for step in left] == [len(step) for step in right] and all(
        np.array_equal(getattr(a, field.name), getattr(b, field.name))
        for x, y in zip(left, right, strict=True)
        for a, b in zip(x, y, strict=True)
        for field in fields(StepBatch)
    )


def kept(cache: CacheConfig) -> dict[str, int]:
    """Entry -> bytes."""
    assert cache.cache_dir is not None
    return {path.name: path.stat().st_size for path in cache.cache_dir.glob("content/*/*")}
