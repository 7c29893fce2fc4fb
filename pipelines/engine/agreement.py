"""Checks that driver and executors have the same Python, packages and code, and reach the places that the job names.

Without this check a difference appears as another result, or as an error deep inside a task, hours later.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import NamedTuple

from pyspark import cloudpickle
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from pipelines.engine import probe
from pipelines.engine.one_machine import on_one_machine
from pipelines.engine.shared_places import unreachable_places
from pipelines.session import SPARK_ERRORS
from schemas.errors import InputError
from schemas.storage.place import Place

# What tasks import. Results are the same to the bit only with one version of each.
PACKAGES = (
    "deltalake", "msgspec", "numba", "numpy", "obstore", "pandas", "petastorm", "pyarrow", "regex", "stopwordsiso",
    "tokenizers", "universal-pathlib", "xxhash",
)  # fmt: skip
_TASKS = 64  # some for each executor: an engine does not report its number of executors
_PYTHON = "Ship the driver's Python: ./feedloop package --environment, and the command lines that it prints"
_CODE = "Give both the same feedloop.zip: --py-files with the file of ./feedloop package that the driver runs from"


class Environment(NamedTuple):
    """A Python process: its host, its versions and the sum of its code."""

    host: str
    python: str
    packages: dict[str, str | None]
    code: str | None

    @classmethod
    def of(cls, text: str) -> Environment:
        """Read from the JSON of `probe.describe_process`."""
        return cls(**json.loads(text))


def check_agreement(spark: SparkSession, places: Sequence[Place | None]) -> None:
    """InputError names each difference between driver and executors, and what to do. On one machine: no check.

    `places`: where tasks read or write; None where an option was left out.
    """
    if on_one_machine(spark):
        return
    faults = differences(Environment.of(probe.describe_process(PACKAGES)), _executors(spark))
    if not faults:  # with faults our code may not even run there
        faults = unreachable_places(spark, [place for place in places if place is not None], _TASKS)
    if faults:
        raise InputError(_message(faults))


def differences(driver: Environment, executors: Sequence[Environment]) -> list[str]:
    """One line for each difference on some executors, with their hosts and what to do."""
    faults = _differing("Python", _minor(driver.python), [(each.host, _minor(each.python)) for each in executors])
    for package, version in driver.packages.items():
        faults += _differing(package, version, [(each.host, each.packages.get(package)) for each in executors])
    lines = [f"{fault}. {_PYTHON}" for fault in faults]
    codes = _differing("feedloop's code", _short(driver.code), [(each.host, _short(each.code)) for each in executors])
    return lines + [f"{fault}. {_CODE}" for fault in codes]


def _differing(what: str, ours: str | None, theirs: Sequence[tuple[str, str | None]]) -> list[str]:
    hosts: dict[str | None, set[str]] = {}
    for host, found in theirs:
        if found != ours:
            hosts.setdefault(found, set()).add(host)
    return [
        f"{what} is {ours or 'not installed'} here and {found or 'not there'} on {', '.join(sorted(names))}"
        for found, names in sorted(hosts.items(), key=str)
    ]


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _short(code: str | None) -> str | None:
    return code and code[:12]


def _executors(spark: SparkSession) -> list[Environment]:
    """The environments of the executors that took a task. InputError where Python does not run there at all."""
    cloudpickle.register_pickle_by_value(probe)  # type: ignore[no-untyped-call]
    try:
        found = F.udf(probe.process_describer(PACKAGES), "string")(F.col("id"))
        rows = spark.range(0, _TASKS, 1, _TASKS).select(found.alias("found")).collect()
    except SPARK_ERRORS as error:
        reason = python_failure(str(error))
        if reason is None:
            raise
        raise InputError(_message([reason])) from error
    finally:
        cloudpickle.unregister_pickle_by_value(probe)  # type: ignore[no-untyped-call]
    return [Environment.of(text) for text in sorted({row["found"] for row in rows})]


def python_failure(text: str) -> str | None:
    """Why no Python task ran on an executor, by Spark's error text; None for another error."""
    if versions := re.search(r"different version: ([\d.]+)\)? than that in driver:? ([\d.]+)", text):
        return f"Python is {versions[2]} here and {versions[1]} on the executors. {_PYTHON}"
    if program := re.search(r'Cannot run program "([^"]+)"', text):
        return f"the executors have no Python at {program[1]}. Set spark.pyspark.python to theirs. Or: {_PYTHON}"
    if module := re.search(r"No module named '([\w.]+)'", text):
        return f"the executors' Python has no {module[1]}. {_PYTHON}"
    return None


def _message(faults: Sequence[str]) -> str:
    lines = "".join(f"\n  - {fault}" for fault in faults)
    return f"driver and executors do not agree, so nothing was read or written:{lines}"
