"""Every option of every job that names data, in every spelling: it works, or an error names it and nothing is made."""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple, get_origin, get_type_hints

import pytest

from jobs.cli.command_line import _bind
from jobs.cli.place_options import kinds_in
from schemas.errors import InputError
from schemas.storage.hadoop import MISSING as NO_HDFS
from schemas.storage.place import Place
from tests.jobs.cli.test_command_line import JOBS

# What stays on this machine, and why; every other option that names data takes any storage.
HERE_ALONE = {
    ("demo", "data"): "the demo is a first look at one machine",
    ("demo", "out"): "as above",
    ("demo_spark", "data"): "as above",
    ("demo_spark", "out"): "as above",
    ("demo_trainer", "lake"): "as above",
    ("demo_trainer", "out"): "as above",
    ("demo_trainer", "truth"): "as above",
    ("make_sample", "out"): "a sample to try things on",
    ("package", "out"): "what spark-submit takes from its own machine",
    ("forget", "user_file"): "who asked to be forgotten, which is copied nowhere",
    ("train", "store"): "the frozen layers' output, which is mapped into memory",
    ("evaluate", "store"): "as above",
    ("export_embeddings", "store"): "as above",
}
HERE_ALONE |= dict.fromkeys(((job, "cache_dir") for job in JOBS), "what this machine keeps of other storage")
TEXT = "a word"
SERVED = {
    "s3://bucket/x/": "s3://bucket/x",
    "s3a://bucket/x": "s3://bucket/x",
    "s3n://bucket//x": "s3://bucket/x",
    "gs://bucket/x": "gs://bucket/x",
    "abfss://box@account.dfs.core.windows.net/x": "abfss://box@account.dfs.core.windows.net/x",
}
HERE = {"file:/nowhere/x": "/nowhere/x", "file:///nowhere/a%20b": "/nowhere/a b", "x y": "x y"}
REFUSED = {
    "s3:/bucket/x": "names no bucket",
    "s3a:bucket/x": "names no bucket",
    "hdfs:/x": "names no name node",
    "hdfs://host:8020/x": "hdfs-native",
    "dbfs:/x": "not served",
    "oss://bucket/x": "not served",
    "https://host/x": "not served",
    "wasbs://box@account/x": "not served",
    "s3://key:secret@bucket/x": "environment variables",
    "magic://host/x": "not served",
    "catalog:a.b.c": "names no schema",
    "catalog:": "names no schema",
    "file://host/x": "with a host",
}


class Option(NamedTuple):
    """An option of a job that names data."""

    job: str
    name: str
    kind: type  # Place or Path


def options() -> Iterator[Option]:
    for job in JOBS:
        hints = get_type_hints(getattr(importlib.import_module(f"jobs.{job}"), job))
        yield from (Option(job, name, kind) for name, kind in named(hints))


def named(hints: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, type]]:
    """Options, those of configs included."""
    for name, hint in hints.items():
        kinds = kinds_in(hint) & {Place, Path}
        if kinds and name != "return":
            yield f"{prefix}{name.rstrip('_')}", kinds.pop()
        elif isinstance(hint, type) and is_dataclass(hint) and hint is not Place:
            theirs = get_type_hints(hint)
            yield from named({field.name: theirs[field.name] for field in fields(hint)}, prefix)


OPTIONS = sorted(options())


def bound(option: Option, value: str) -> Any:
    """The arguments that the job would be called with. Its other required options are filled with words."""
    job = getattr(importlib.import_module(f"jobs.{option.job}"), option.job)
    argv = [f"--{option.name.replace('_', '-')}", value]
    for name, parameter in inspect.signature(job).parameters.items():
        if parameter.default is parameter.empty and name != option.name:
            argv += [f"--{name.replace('_', '-')}", TEXT]
    arguments = _bind(job, argv)
    assert arguments is not None
    values = dict(arguments.arguments)
    for config in [value for value in values.values() if is_dataclass(value)]:
        values |= {field.name.rstrip("_"): getattr(config, field.name) for field in fields(config)}
    found = values[option.name]
    return found[0] if isinstance(found, tuple | list) else found


@pytest.fixture(autouse=True)
def _nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    assert os.listdir(tmp_path) == []


def test_options_that_name_data_take_any_storage_but_for_those_with_a_reason() -> None:
    paths = {(option.job, option.name) for option in OPTIONS if option.kind is Path}
    assert paths <= HERE_ALONE.keys()
    assert {key for key in HERE_ALONE.keys() - paths if key[1] != "cache_dir"} == set(), "no reason is left over"
    assert len(OPTIONS) > 30


def test_no_option_that_names_data_is_a_mere_text() -> None:
    """An option of type text is not checked: options with these names must have a type of data."""
    texts = [
        f"{job} --{name}"
        for job in JOBS
        for name, hint in get_type_hints(getattr(importlib.import_module(f"jobs.{job}"), job)).items()
        if name in {option.name for option in OPTIONS} and not kinds_in(hint) & {Place, Path}
        if get_origin(hint) is not dict and name != "return"
    ]
    assert not texts


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: f"{option.job}-{option.name}")
def test_an_option_takes_what_is_served_and_refuses_the_rest_by_name(option: Option) -> None:
    for text, canonical in HERE.items():
        assert str(bound(option, text)) == canonical
    for text, canonical in SERVED.items():
        if option.kind is Place:
            assert bound(option, text) == Place(canonical)
            continue
        with pytest.raises(InputError, match=f"{option.name.replace('_', '-')} is {canonical}: give a local path"):
            bound(option, text)
    for text, says in REFUSED.items():
        if says == "hdfs-native" and NO_HDFS is None:
            continue
        with pytest.raises(InputError, match=says):
            bound(option, text)


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: f"{option.job}-{option.name}")
def test_a_schema_of_a_catalogue_is_a_lake_of_the_jobs_that_choose_an_engine_and_nothing_else(option: Option) -> None:
    engines = (
        "engine" in inspect.signature(getattr(importlib.import_module(f"jobs.{option.job}"), option.job)).parameters
    )
    if option.name == "lake" and engines:
        assert bound(option, "catalog:main.feedloop") == Place("catalog://main.feedloop")
        return
    with pytest.raises(InputError, match="is only valid as --lake of jobs that run on Spark"):
        bound(option, "catalog:main.feedloop")
