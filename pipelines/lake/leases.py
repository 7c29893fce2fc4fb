"""Allows one writer per stage of a lake behind a URL, by a lease that expires when its holder dies.

A lease is a numbered object that only one process can create; the highest number is valid. Its holder renews it.
Where it has expired or is gone, another process may create the next number; the earlier holder finds that at its next
renewal. Numbers are used again after a lease was given back, so a holder recognises its own by a token. A process that
created a number while another lease is alive (given back and taken again since it looked) gives its own up.
A process that lost its lease without knowing it cannot commit: Delta rejects it, for the table's version has moved.

Clocks of machines that share a lake may differ by MARGIN.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from schemas.errors import ContractError, InputError
from schemas.storage.files import below, create, remove, store_of, write
from schemas.storage.place import Place
from schemas.strict_json import Count, ShortText, decoded

LENGTH = timedelta(minutes=2)
MARGIN = timedelta(seconds=15)
_LARGEST = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The content of a lease's object."""

    job: ShortText
    pid: Count
    host: ShortText
    since: ShortText  # UTC, as is
    until: ShortText
    token: ShortText = ""  # unique

    def has_ended(self) -> bool:
        """Whether it has expired, whatever the clocks' difference."""
        return datetime.fromisoformat(self.until) + MARGIN < datetime.now(UTC)


@contextmanager
def leased(folder: Place, stage: str, *, by: str, what: str, length: timedelta | None = None) -> Iterator[None]:
    """Inside, this process alone holds the stage's lease in the folder. InputError names another holder.

    InputError at the end, where another process took it because this one did not renew it in time. `length`: by
    default LENGTH.
    """
    length, at = length or LENGTH, folder / f"{stage}.lease"
    who = {"job": by, "pid": os.getpid(), "host": socket.gethostname(), "since": _text(datetime.now(UTC))}
    lease = Lease(**who, until="", token=uuid4().hex)  # type: ignore[arg-type]
    number = _acquire(at, lease, length, what)
    done, lost = threading.Event(), threading.Event()

    def renew() -> None:
        while not done.wait(length.total_seconds() / 4):
            with suppress(InputError):  # the store does not answer: the lease lasts for some time yet
                if not _is_ours(at, number, lease):
                    return lost.set()
                write(_object(at, number), _json(lease, length))

    renewing = threading.Thread(target=renew, name="lease", daemon=True)
    renewing.start()
    try:
        yield
    finally:
        done.set()
        renewing.join()
        with suppress(InputError):  # it expires by itself
            if not _is_ours(at, number, lease):
                lost.set()
            if _has_token(at, number, lease):
                remove(_object(at, number))
    if lost.is_set():
        raise InputError(
            f"{folder}: {by} could not renew its lease in time, and another process went on. Run it again: what was "
            "committed stays, and nothing is there twice"
        )


def _acquire(at: Place, lease: Lease, length: timedelta, what: str) -> int:
    """Take the lease; returns its number. InputError where another process holds it."""
    before = _highest(at)
    if before and (holder := _holder(at, before)) is not None and not holder.has_ended():
        raise InputError(f"{at}: {_running(holder, what)}. Run this again when it is done; if it died, after that time")
    number, begun = before + 1, f"{at}: another process has just begun with this {what}. Run this again later"
    try:
        create(_object(at, number), _json(lease, length))
    except FileExistsError as error:
        if not _has_token(at, number, lease):  # else the response to a first try was lost
            raise InputError(begun) from error
    others = {other: _holder(at, other) for other in _numbers(at) if other != number}
    if any(holder is not None and not holder.has_ended() for holder in others.values()):
        remove(_object(at, number))
        raise InputError(begun)
    for other in others:
        if other < number:
            remove(_object(at, other))
    return number


def _is_ours(at: Place, number: int, lease: Lease) -> bool:
    """Whether the lease is still valid. InputError where the store does not answer."""
    return _highest(at) == number and _has_token(at, number, lease)


def _has_token(at: Place, number: int, lease: Lease) -> bool:
    holder = _holder(at, number)
    return holder is not None and holder.token == lease.token


def _numbers(at: Place) -> list[int]:
    return [int(name) for name, _ in below(at) if name.isdecimal()]


def _highest(at: Place) -> int:
    return max(_numbers(at), default=0)


def _holder(at: Place, number: int) -> Lease | None:
    """The lease of this number; None where it has been given back meanwhile, or is no lease. InputError where the
    store does not answer: that is no reason to take the lease.
    """
    store, key = store_of(_object(at, number))
    try:
        return decoded(store.read(key, 0, _LARGEST), Lease, str(at))
    except (FileNotFoundError, ContractError):
        return None


def _running(holder: Lease, what: str) -> str:
    process = f"process {holder.pid} on {holder.host}, since {holder.since}, until {holder.until} at least"
    return f"{holder.job} of this {what} is running already ({process})"


def _object(at: Place, number: int) -> Place:
    return at / f"{number:09}"


def _json(lease: Lease, length: timedelta) -> bytes:
    return json.dumps(asdict(lease) | {"until": _text(datetime.now(UTC) + length)}).encode()


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
