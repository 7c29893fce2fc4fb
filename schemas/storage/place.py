"""Place: a folder or a file that an option names, on this machine or behind a URL; one spelling for each.

s3a:// and s3n:// become s3://, as the libraries of both engines write it. An unsupported scheme raises an error that
names it, before anything is made: as a path it would become a folder named s3a: below the working directory.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from schemas.errors import InputError

SCHEMES = {"s3": "s3", "s3a": "s3", "s3n": "s3", "gs": "gs", "abfs": "abfss", "abfss": "abfss", "hdfs": "hdfs"}
_SERVED = "s3:// (s3a://), gs://, abfss://, hdfs://, file:/ and plain paths"
# Ours and other common ones: with one slash or none they are not taken as names of folders either.
_SCHEME = re.compile(
    r"([A-Za-z][A-Za-z0-9+.-]*)://|(?i:(file|catalog|dbfs|viewfs|wasbs?|adl|oss|https?|s3[an]?|gs|abfss?|hdfs):)"
)
_CATALOG = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*){1,2}")
_SCHEMA = re.compile(r"\w+(\.\w+)?", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A folder or file: `text` is a local path as it was given, or a URL without a trailing slash."""

    text: str

    @classmethod
    def of(cls, named: str | Path | Place) -> Place:
        """The place that an option names. InputError for unsupported storage, or a URL that names no place."""
        if isinstance(named, Place):
            return named
        text = str(named)
        found = _SCHEME.match(text)
        if isinstance(named, Path) or found is None:
            return cls(text)
        scheme = (found[1] or found[2]).lower()
        if scheme == "file":
            return cls(_of_this_machine(text))
        if scheme == "dbfs" and Path("/dbfs").is_dir():  # Databricks shows its file system there
            return cls("/dbfs/" + text.partition(":")[2].lstrip("/"))
        if scheme == "catalog":
            return cls(_of_a_catalogue(text))
        if scheme not in SCHEMES:
            raise InputError(f"{_without_secrets(text)}: storage by {scheme}: is not served. Served are {_SERVED}")
        return cls(_url(scheme, text))

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine's file system."""
        return "://" not in self.text

    @property
    def schema(self) -> str | None:
        """The schema of Spark's catalogue, such as main.feedloop; None if the place is not a schema."""
        scheme, _, name = self.text.partition("://")
        return name if scheme == "catalog" else None

    @property
    def path(self) -> Path:
        """The path of a local place."""
        assert self.is_local, f"{self}: not a local place"
        return Path(self.text)

    @property
    def name(self) -> str:
        """The last part."""
        return Path(self.text).name if self.is_local else self.text.rpartition("/")[2]

    def resolve(self) -> Place:
        """The same place; a local one by its absolute path without symbolic links."""
        return Place(str(self.path.resolve())) if self.is_local else self

    @property
    def parent(self) -> Place:
        """The folder that holds it; a bucket is its own parent."""
        if self.is_local:
            return Place(str(self.path.parent))
        above = self.text.rpartition("/")[0]
        return self if above.endswith(("/", ":")) else Place(above)

    def __truediv__(self, below: str) -> Place:
        return Place(str(self.path / below)) if self.is_local else Place(f"{self.text}/{below.strip('/')}")

    def __str__(self) -> str:
        return self.text


def lake_place(named: str | Path | Place) -> Place:
    """As `Place.of`, of a lake. InputError for a name like a catalogue's table, unless there is such a folder."""
    place = Place.of(named)
    if place.is_local and _CATALOG.fullmatch(place.text) and not place.path.exists():
        schema = ".".join(place.text.split(".")[:2])
        raise InputError(
            f"{place}: a schema of a catalogue (Unity, Hive), or a folder? Write catalog:{schema} for the schema, "
            f"which asks for --engine spark, and ./{place} for a folder of that name"
        )
    return place


def _of_a_catalogue(text: str) -> str:
    name = text.partition(":")[2].removeprefix("//")
    if not _SCHEMA.fullmatch(name):
        raise InputError(f"{text}: names no schema, as in catalog:SCHEMA or catalog:CATALOG.SCHEMA")
    return f"catalog://{name}"


def _of_this_machine(text: str) -> str:
    rest = text[len("file:") :]
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        if host not in ("", "localhost"):
            raise InputError(f"{text}: file:// with a host, {host!r}. Write file:/ and the path, or the path alone")
        rest = slash + path
    if not rest.startswith("/"):
        raise InputError(f"{text}: file: without an absolute path behind it. Write the path alone")
    return unquote(rest)


def _url(scheme: str, text: str) -> str:
    ours, rest = SCHEMES[scheme], text.partition("://")[2]
    host, _, key = rest.partition("/")
    if "://" not in text or not host:
        where = {"hdfs": "name node, as in hdfs://HOST:PORT/…", "abfss": "container, as in abfss://CONTAINER@ACCOUNT…"}
        raise InputError(f"{_without_secrets(text)}: names no {where.get(ours, f'bucket, as in {ours}://BUCKET/…')}")
    if "@" in host and (ours != "abfss" or ":" in host):
        raise InputError(
            f"{_without_secrets(text)}: a URL with a name and a secret would appear in logs and tables. Give them in "
            "the storage's environment variables"
        )
    parts = [part for part in key.split("/") if part]
    if {".", ".."} & set(parts):
        raise InputError(f"{text}: object stores have no . and .. folders. Write the full name")
    return "/".join([f"{ours}://{host}", *parts])


def _without_secrets(text: str) -> str:
    return re.sub(r"//[^/@]*:[^/@]*@", "//…@", text)
