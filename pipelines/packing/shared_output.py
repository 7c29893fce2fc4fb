"""Reach: whether what tasks write to a place is there for this process too, found out before any work is done."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from uuid import uuid4

import pyarrow as pa
from pyspark.sql import SparkSession

from pipelines.engine.one_machine import on_one_machine
from pipelines.packing.build_folder import new_build
from pipelines.packing.write import held, unfinished
from schemas.errors import InputError
from schemas.storage import files
from schemas.storage.place import Place

_ROWS = 1024  # dealt to as many tasks as the engine has cores
_PROBED = pa.schema([("host", pa.string()), ("name", pa.string()), ("fault", pa.string())])


def check_reached(spark: SparkSession, out: Place) -> None:
    """InputError unless executors write where `out` is to be made, and this process sees it. Nothing of it is left."""
    if on_one_machine(spark):
        return
    with _probing(out) as folder:
        found = spark.range(0, _ROWS).mapInArrow(_prober(folder), "host string, name string, fault string").collect()
        for host, name, fault in found:
            if fault is None and files.head(folder / name) is None:
                fault = "what it writes there is not seen here"
            if fault is not None:
                raise InputError(_refusal(out, host, fault))


def _prober(folder: Place) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def probe(rows: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """A fault is a value: an error would reach the user as the engine's."""
        if not sum(batch.num_rows for batch in rows):  # all are read: Spark starts a worker anew that has left some
            return
        name, fault = uuid4().hex, None
        try:
            if folder.is_local and not folder.path.is_dir():
                fault = "it does not see the folder that was made here"
            else:
                files.write(folder / name, b"")
        except (OSError, InputError) as error:
            fault = str(error)
        yield pa.RecordBatch.from_pylist([{"host": socket.gethostname(), "name": name, "fault": fault}], _PROBED)

    return probe


@contextmanager
def _probing(out: Place) -> Iterator[Place]:
    """Inside, a new folder where the directory's own will be, or as near to it as there is a folder."""
    if not out.is_local:
        folder = out / new_build()
        try:
            yield folder
        finally:
            with suppress(OSError, InputError):
                files.remove_folder(folder)
        return
    whole = out.path.absolute()
    made = unfinished(next(parent for parent in whole.parents if parent.is_dir()) / whole.name)
    made.mkdir()
    with held(made):
        try:
            yield Place.of(made)
        finally:
            shutil.rmtree(made, ignore_errors=True)


def _refusal(out: Place, host: str, fault: str) -> str:
    if out.is_local:
        return (
            f"{out}: executors write to it, and that on {host} cannot ({fault}). Name a folder that driver and "
            "executors share, or a URL such as s3://BUCKET/packed"
        )
    return (
        f"{out}: the executor on {host} cannot write there ({fault}). Give executors what opens it: the storage's "
        "environment variables (Spark sets spark.executorEnv.NAME there), and the Python package that serves it"
    )
