"""Builds a command line from a dataclass with argparse, for machines without the libraries of jobs.cli."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

from trainer.cost.precision import emulation
from trainer.setup.automatic import DeviceName, device_of

Config = TypeVar("Config")


def warn_if_emulated(device: DeviceName, precision: str, *, otherwise: str) -> None:
    """Warn on standard error if the device only emulates the measured precision; `otherwise`: option for float32."""
    if warning := emulation(precision, device_of(device)):
        print(f"{warning}. {otherwise} measures float32", file=sys.stderr)


def words_of(config: Any, device: DeviceName) -> list[str]:
    """The command line that `run_plain` parses to this config and device."""
    words = ["--device", device]
    for field in fields(config):
        value, option = getattr(config, field.name), field.name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{'' if value else 'no-'}{option}")
        elif isinstance(value, tuple):
            words += [f"--{option}", *map(str, value)]
        else:
            words.append(f"--{option}={value}")
    return words


def run_plain(
    name: str, doc: str | None, config: Callable[..., Config], bench: Callable[[Config, DeviceName], dict[str, Any]]
) -> int:
    """Parse the fields of `config` and --device, call `bench`, print its result as the last line, one JSON object.

    Invalid options exit with code 2 and one message on standard error.
    """
    parser = argparse.ArgumentParser(prog=f"python -m jobs.bench.{name}", description=doc)
    for field in fields(config):  # type: ignore[arg-type]  # a dataclass
        option, default = f"--{field.name.replace('_', '-')}", field.default
        if isinstance(default, bool):
            parser.add_argument(option, action=argparse.BooleanOptionalAction, default=default)
        elif isinstance(default, tuple):
            parser.add_argument(option, type=type(default[0]), nargs="+", default=default)
        else:
            parser.add_argument(option, type=type(default), default=default)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    options = vars(parser.parse_args())
    device = options.pop("device")
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    try:
        found = bench(config(**given), device)
    except ValueError as error:
        print(f"bench {name}: {error}", file=sys.stderr)
        return 2
    print(json.dumps(found))
    return 0
