"""Checks, before any work, that this process sees the files that executors write to the output place."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from uuid import uuid4

import pyarrow as pa
from pyspark.sql import SparkSession

from pipelines.engine.one_machine import on_one_machine
from pipelines.packing.build_folder import new_build_name
from pipelines.packing.write import hidden_sibling, locked
from schemas.errors import InputError
from schemas.storage import files
from schemas.storage.place import Place

_ROWS = 1024  # divided over one task per core of the engine
_PROBE_SCHEMA = pa.schema([("host", pa.string()), ("name", pa.string()), ("fault", pa.string())])


def check_reached(spark: SparkSession, out: Place) -> None:
    """InputError unless executors can write to `out` and this process sees their files. Removes its test files."""
    if on_one_machine(spark):
        return
    with _probe_folder(out) as folder:
        probes = spark.range(0, _ROWS).mapInArrow(_prober(folder), "host string, name string, fault string")
        found = probes.collect()
        for host, name, fault in found:
            if fault is None and files.head(folder / name) is None:
                fault = "this process does not see the file that it wrote"
            if fault is not None:
                raise InputError(_message(out, host, fault))


def _prober(folder: Place) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def probe(rows: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """A fault is returned as a value: an exception would reach the user as the engine's."""
        if not sum(batch.num_rows for batch in rows):  # reads all rows: Spark restarts a worker that leaves some unread
            return
        name, fault = uuid4().hex, None
        try:
            if folder.is_local and not folder.path.is_dir():
                fault = "it does not see the folder that this process made"
            else:
                files.write(folder / name, b"")
        except (OSError, InputError) as error:
            fault = str(error)
        yield pa.RecordBatch.from_pylist([{"host": socket.gethostname(), "name": name, "fault": fault}], _PROBE_SCHEMA)

    return probe


@contextmanager
def _probe_folder(out: Place) -> Iterator[Place]:
    """Inside, a new folder next to `out`, or in the nearest parent that exists; removed afterwards."""
    if not out.is_local:
        folder = out / new_build_name()
        try:
            yield folder
        finally:
            with suppress(OSError, InputError):
                files.remove_folder(folder)
        return
    path = out.path.absolute()
    probe = hidden_sibling(next(parent for parent in path.parents if parent.is_dir()) / path.name)
    probe.mkdir()
    with locked(probe):
        try:
            yield Place.of(probe)
        finally:
            shutil.rmtree(probe, ignore_errors=True)


def _message(out: Place, host: str, fault: str) -> str:
    if out.is_local:
        return (
            f"{out}: the executor on {host} cannot write there ({fault}). Name a folder that driver and executors "
            "share, or a URL such as s3://BUCKET/packed"
        )
    return (
        f"{out}: the executor on {host} cannot write there ({fault}). Give executors the storage's environment "
        "variables (Spark sets spark.executorEnv.NAME there), and the Python package that serves it"
    )
