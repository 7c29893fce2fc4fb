"""Section [storage] of a preset: endpoints and options of object stores that the environment does not set.

Each name stands for an environment variable that all our libraries read, in child processes too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from schemas.errors import InputError


class Setting(NamedTuple):
    """The environment variable that a name of the section sets."""

    variable: str
    kind: type  # str or bool
    also: tuple[str, ...] = ()  # other variables with the same meaning: any of them in the environment wins
    inverse: bool = False  # the variable has the opposite meaning


SETTINGS = {
    "endpoint": Setting("AWS_ENDPOINT_URL", str, ("AWS_ENDPOINT", "AWS_ENDPOINT_URL_S3")),
    "region": Setting("AWS_REGION", str, ("AWS_DEFAULT_REGION",)),
    "allow_http": Setting("AWS_ALLOW_HTTP", bool),
    "path_style": Setting("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", bool, inverse=True),
    "unsigned": Setting("AWS_SKIP_SIGNATURE", bool),
    "google_service_account": Setting("GOOGLE_SERVICE_ACCOUNT", str, ("GOOGLE_APPLICATION_CREDENTIALS",)),
    "azure_account": Setting("AZURE_STORAGE_ACCOUNT_NAME", str),
    "azure_endpoint": Setting("AZURE_STORAGE_ENDPOINT", str, ("AZURE_ENDPOINT",)),
}
_SECRET = re.compile(r"key|secret|token|password|passwd|credential|sas", re.IGNORECASE)


def apply_storage(section: Any, where: Path) -> None:
    """Set the variables that the environment of this process lacks. InputError for an invalid name or value."""
    if not isinstance(section, Mapping):
        raise InputError(f"{where}: storage must be a table, [storage], and is {section!r}")
    wanted = {name: _checked(name, value, where) for name, value in section.items()}
    for name, value in wanted.items():
        setting = SETTINGS[name]
        if not any(os.environ.get(variable) for variable in (setting.variable, *setting.also)):
            os.environ[setting.variable] = value


def _checked(name: str, value: Any, where: Path) -> str:
    """The value in the form that the variable takes."""
    if _SECRET.search(name):
        raise InputError(
            f"{where}: storage.{name} reads like a secret, and a preset is copied and shared. Give secrets by the "
            "environment, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or by a role of the machine"
        )
    if name == "profile":
        raise InputError(
            f"{where}: storage.profile names a part of ~/.aws, which not all of our libraries read. Set its keys in "
            "the environment: aws configure export-credentials --format env prints them"
        )
    if name not in SETTINGS:
        raise InputError(f"{where}: unknown key storage.{name}. Known are {', '.join(SETTINGS)}")
    setting = SETTINGS[name]
    if type(value) is not setting.kind or value == "":
        kind = "true or false" if setting.kind is bool else "a text"
        raise InputError(f"{where}: storage.{name} is {value!r}: give {kind}")
    if isinstance(value, bool):
        return str(value is not setting.inverse).lower()
    if "@" in urlsplit(str(value)).netloc:
        raise InputError(f"{where}: storage.{name} holds a name and a secret before its host. Take them out")
    return str(value)
