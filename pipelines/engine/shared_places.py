"""Checks that executors reach the places that a job names: shared folders, and storage that is open to them."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import NamedTuple
from uuid import uuid4

import pyarrow as pa
from pyspark.sql import SparkSession

from schemas.errors import InputError
from schemas.storage import files
from schemas.storage.place import Place

_FOUND = pa.schema([("host", pa.string()), ("place", pa.string()), ("fault", pa.string())])


class Evidence(NamedTuple):
    """A file or folder by which an executor shows that it reaches a place."""

    place: Place
    path: Place
    bytes: int | None  # None: a folder


def unreachable_places(spark: SparkSession, places: Sequence[Place], tasks: int) -> list[str]:
    """One line for each place that some executors do not reach. For a place that does not exist yet, the folder that
    will contain it is checked; empty URLs are skipped.
    """
    with ExitStack() as stack:
        signs = [sign for place in places if (sign := stack.enter_context(_marked(place))) is not None]
        if not signs:
            return []
        frame = spark.range(0, tasks, 1, tasks).mapInArrow(_seeker(signs), "host string, place string, fault string")
        found = [tuple(row) for row in frame.collect()]
    return [_line(place, found) for place in places if any(str(place) == each[1] for each in found)]


@contextmanager
def _marked(place: Place) -> Iterator[Evidence | None]:
    """Inside, a file of a random name in the folder; where none can be made, an existing file, or the folder."""
    if not place.is_local:
        there = files.exists(place)
        yield Evidence(place, place, None) if there else None
        return
    path = place.path.absolute()
    if path.is_file():
        yield Evidence(place, Place.of(path), path.stat().st_size)
        return
    folder = path if path.is_dir() else next(parent for parent in path.parents if parent.is_dir())
    mark = folder / f".feedloop-{uuid4().hex}"
    try:
        mark.write_bytes(b"feedloop")
    except OSError:  # logs may be read-only
        inside = next((entry for entry in sorted(os.listdir(folder)) if (folder / entry).is_file()), None)
        sign = folder if inside is None else folder / inside
        yield Evidence(place, Place.of(sign), None if inside is None else sign.stat().st_size)
        return
    try:
        yield Evidence(place, Place.of(mark), mark.stat().st_size)
    finally:
        with suppress(OSError):
            mark.unlink()


def _seeker(signs: Sequence[Evidence]) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def seek(rows: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        if sum(batch.num_rows for batch in rows):  # reads all rows: Spark restarts a worker that has left some
            faults = [(sign, fault) for sign in signs if (fault := _fault(sign)) is not None]
            host = socket.gethostname()
            found = [{"host": host, "place": str(sign.place), "fault": fault} for sign, fault in faults]
            yield pa.RecordBatch.from_pylist(found, _FOUND)

    return seek


def _fault(sign: Evidence) -> str | None:
    """Why the place is not reached here; None where it is. Not raised: the user would see an error of the engine."""
    try:
        if not sign.path.is_local:
            return None if files.exists(sign.path) else "nothing is there for it"
        found = sign.path.path
        if sign.bytes is None:
            return None if found.is_dir() else ""
        return None if found.is_file() and found.stat().st_size == sign.bytes else ""
    except (OSError, InputError) as error:
        return str(error)


def _line(place: Place, found: Sequence[tuple[str, str, str]]) -> str:
    theirs = [(host, fault) for host, at, fault in found if at == str(place)]
    hosts = ", ".join(sorted({host for host, _ in theirs}))
    reason = next((f" ({fault})" for _, fault in theirs if fault), "")
    if place.is_local:
        return (
            f"{place}: the folder is not shared with {hosts}{reason}. Name a folder that driver and executors share, "
            "or a URL such as s3://BUCKET/lake"
        )
    return (
        f"{place}: not open to {hosts}{reason}. Give executors the storage's environment variables "
        "(--conf spark.executorEnv.NAME=VALUE, on Kubernetes secretKeyRef) and the Python package that serves it"
    )
