"""One writer per stage of a lake that no kernel locks: a lease that ends by itself where its holder died.

A lease is an object with a number, which one process alone can make; the highest number holds. Its holder renews it.
Where it has run out, or is gone, the next number may be made, and who held the one before sees that when it renews.
Numbers come again once a lease was given back, so a holder knows its own by a token. Who makes a number while
another's lease is alive, which was given back and taken again since it looked, gives its own up.
What a process writes that lost its lease and does not know yet, Delta refuses: the table's version has moved.

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
    """What stands in a lease."""

    job: ShortText
    pid: Count
    host: ShortText
    since: ShortText  # UTC, as is
    until: ShortText
    token: ShortText = ""  # no other lease has it

    def has_ended(self) -> bool:
        """Whether its time has run out for sure."""
        return datetime.fromisoformat(self.until) + MARGIN < datetime.now(UTC)


@contextmanager
def leased(folder: Place, stage: str, *, by: str, what: str, length: timedelta | None = None) -> Iterator[None]:
    """Inside, no other process holds the stage's lease in the folder. InputError names the one that holds it.

    InputError afterwards, where another process took it because this one did not renew it in time. `length`: LENGTH.
    """
    length, at = length or LENGTH, folder / f"{stage}.lease"
    who = {"job": by, "pid": os.getpid(), "host": socket.gethostname(), "since": _text(datetime.now(UTC))}
    lease = Lease(**who, until="", token=uuid4().hex)  # type: ignore[arg-type]
    number = _taken(at, lease, length, what)
    done, lost = threading.Event(), threading.Event()

    def renew() -> None:
        while not done.wait(length.total_seconds() / 4):
            with suppress(InputError):  # the store does not answer: the lease lasts for some time yet
                if not _is_ours(at, number, lease):
                    return lost.set()
                write(_named(at, number), _json(lease, length))

    renewing = threading.Thread(target=renew, name="lease", daemon=True)
    renewing.start()
    try:
        yield
    finally:
        done.set()
        renewing.join()
        with suppress(InputError):  # it ends by itself
            if not _is_ours(at, number, lease):
                lost.set()
            if _has_token(at, number, lease):
                remove(_named(at, number))
    if lost.is_set():
        raise InputError(
            f"{folder}: {by} could not renew its lease in time, and another process went on. Run it again: what was "
            "committed stays, and nothing is there twice"
        )


def _taken(at: Place, lease: Lease, length: timedelta, what: str) -> int:
    """The number of the lease that is ours now."""
    before = _highest(at)
    if before and (holder := _holder(at, before)) is not None and not holder.has_ended():
        raise InputError(f"{at}: {_told(holder, what)}. Run this again when it is done; if it died, after that time")
    number, begun = before + 1, f"{at}: another process has just begun with this {what}. Run this again later"
    try:
        create(_named(at, number), _json(lease, length))
    except FileExistsError as error:
        if not _has_token(at, number, lease):  # else the answer to a first try was lost
            raise InputError(begun) from error
    others = {other: _holder(at, other) for other in _numbers(at) if other != number}
    if any(holder is not None and not holder.has_ended() for holder in others.values()):
        remove(_named(at, number))
        raise InputError(begun)
    for other in others:
        if other < number:
            remove(_named(at, other))
    return number


def _is_ours(at: Place, number: int, lease: Lease) -> bool:
    """Whether the lease still holds. InputError where the store does not answer."""
    return _highest(at) == number and _has_token(at, number, lease)


def _has_token(at: Place, number: int, lease: Lease) -> bool:
    holder = _holder(at, number)
    return holder is not None and holder.token == lease.token


def _numbers(at: Place) -> list[int]:
    return [int(name) for name, _ in below(at) if name.isdecimal()]


def _highest(at: Place) -> int:
    return max(_numbers(at), default=0)


def _holder(at: Place, number: int) -> Lease | None:
    """Who holds it; None where it has been given back meanwhile, or is no lease. InputError where the store does not
    answer: that is no reason to follow anyone.
    """
    store, key = store_of(_named(at, number))
    try:
        return decoded(store.read(key, 0, _LARGEST), Lease, str(at))
    except (FileNotFoundError, ContractError):
        return None


def _told(holder: Lease, what: str) -> str:
    process = f"process {holder.pid} on {holder.host}, since {holder.since}, until {holder.until} at least"
    return f"{holder.job} of this {what} is running already ({process})"


def _named(at: Place, number: int) -> Place:
    return at / f"{number:09}"


def _json(lease: Lease, length: timedelta) -> bytes:
    return json.dumps(asdict(lease) | {"until": _text(datetime.now(UTC) + length)}).encode()


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
