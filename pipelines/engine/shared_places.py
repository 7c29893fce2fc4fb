"""Whether executors find what the driver finds at the places that a job names: folders shared, storage open to them."""

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


class Sign(NamedTuple):
    """What an executor must find to have reached a place."""

    place: Place
    path: Place
    bytes: int | None  # None: a folder


def unreached(spark: SparkSession, places: Sequence[Place], tasks: int) -> list[str]:
    """One line for each place that some executors do not reach. Places that are not there yet are judged by the folder
    that they will stand in; URLs that hold nothing are passed over.
    """
    with ExitStack() as stack:
        signs = [sign for place in places if (sign := stack.enter_context(_marked(place))) is not None]
        if not signs:
            return []
        frame = spark.range(0, tasks, 1, tasks).mapInArrow(_seeker(signs), "host string, place string, fault string")
        found = [tuple(row) for row in frame.collect()]
    return [_line(place, found) for place in places if any(str(place) == each[1] for each in found)]


@contextmanager
def _marked(place: Place) -> Iterator[Sign | None]:
    """Inside, a file of a random name in the folder; where none can be made, one that is there, or the folder."""
    if not place.is_local:
        there = files.exists(place)
        yield Sign(place, place, None) if there else None
        return
    whole = place.path.absolute()
    if whole.is_file():
        yield Sign(place, Place.of(whole), whole.stat().st_size)
        return
    folder = whole if whole.is_dir() else next(parent for parent in whole.parents if parent.is_dir())
    mark = folder / f".feedloop-{uuid4().hex}"
    try:
        mark.write_bytes(b"feedloop")
    except OSError:  # logs may be read-only
        inside = next((entry for entry in sorted(os.listdir(folder)) if (folder / entry).is_file()), None)
        sign = folder if inside is None else folder / inside
        yield Sign(place, Place.of(sign), None if inside is None else sign.stat().st_size)
        return
    try:
        yield Sign(place, Place.of(mark), mark.stat().st_size)
    finally:
        with suppress(OSError):
            mark.unlink()


def _seeker(signs: Sequence[Sign]) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def seek(rows: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        if sum(batch.num_rows for batch in rows):  # all are read: Spark starts a worker anew that has left some
            faults = [(sign, fault) for sign in signs if (fault := _fault(sign)) is not None]
            host = socket.gethostname()
            told = [{"host": host, "place": str(sign.place), "fault": fault} for sign, fault in faults]
            yield pa.RecordBatch.from_pylist(told, _FOUND)

    return seek


def _fault(sign: Sign) -> str | None:
    """Why the place is not reached here. A value: an error would reach the user as the engine's."""
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
