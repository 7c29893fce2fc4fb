"""Driver and executors agree: the same Python, packages and code, and what the job names is there for both.

Without it a difference shows as another result, or as an error from deep inside of a task, hours later.
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
from pipelines.engine.shared_places import unreached
from pipelines.session import SPARK_ERRORS
from schemas.errors import InputError
from schemas.storage.place import Place

# What tasks import. That a result is the same to the bit holds for one version of each.
PACKAGES = (
    "deltalake", "msgspec", "numba", "numpy", "obstore", "pandas", "petastorm", "pyarrow", "regex", "stopwordsiso",
    "tokenizers", "universal-pathlib", "xxhash",
)  # fmt: skip
_TASKS = 64  # some for each executor: an engine does not say how many it has
_PYTHON = "Ship the driver's Python: ./feedloop package --environment, and the command lines that it prints"
_CODE = "Give both the same feedloop.zip: --py-files with the file of ./feedloop package that the driver runs from"


class Found(NamedTuple):
    """What a Python process is made of."""

    host: str
    python: str
    packages: dict[str, str | None]
    code: str | None

    @classmethod
    def of(cls, text: str) -> Found:
        """From what `probe.probed` gives."""
        return cls(**json.loads(text))


def check_agreement(spark: SparkSession, places: Sequence[Place | None]) -> None:
    """InputError that names each difference between driver and executors, and what to do. On one machine: nothing.

    `places`: what tasks read or write; None where an option was left out.
    """
    if on_one_machine(spark):
        return
    faults = differences(Found.of(probe.probed(PACKAGES)), _executors(spark))
    if not faults:  # else our code may not even run there
        faults = unreached(spark, [place for place in places if place is not None], _TASKS)
    if faults:
        raise InputError(_told(faults))


def differences(driver: Found, executors: Sequence[Found]) -> list[str]:
    """One line for each thing that is another on some executors, with their hosts and what to do."""
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


def _executors(spark: SparkSession) -> list[Found]:
    """What each executor that took a task is made of. InputError where Python does not run there at all."""
    cloudpickle.register_pickle_by_value(probe)  # type: ignore[no-untyped-call]
    try:
        found = F.udf(probe.asker(PACKAGES), "string")(F.col("id"))
        rows = spark.range(0, _TASKS, 1, _TASKS).select(found.alias("found")).collect()
    except SPARK_ERRORS as error:
        reason = unable(str(error))
        if reason is None:
            raise
        raise InputError(_told([reason])) from error
    finally:
        cloudpickle.unregister_pickle_by_value(probe)  # type: ignore[no-untyped-call]
    return [Found.of(text) for text in sorted({row["found"] for row in rows})]


def unable(said: str) -> str | None:
    """Why no task of Python ran on an executor, by what Spark says; None for another error."""
    if versions := re.search(r"different version: ([\d.]+)\)? than that in driver:? ([\d.]+)", said):
        return f"Python is {versions[2]} here and {versions[1]} on the executors. {_PYTHON}"
    if program := re.search(r'Cannot run program "([^"]+)"', said):
        return f"the executors have no Python at {program[1]}. Set spark.pyspark.python to theirs. Or: {_PYTHON}"
    if module := re.search(r"No module named '([\w.]+)'", said):
        return f"the executors' Python has no {module[1]}. {_PYTHON}"
    return None


def _told(faults: Sequence[str]) -> str:
    lines = "".join(f"\n  - {fault}" for fault in faults)
    return f"driver and executors do not agree, so nothing was read or written:{lines}"
