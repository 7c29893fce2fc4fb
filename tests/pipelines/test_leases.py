"""Leases on a real S3 server: one holder at a time, and a dead one is followed."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from pipelines import leases
from pipelines.leases import leased
from schemas.errors import InputError
from schemas.storage.files import below, create, write
from schemas.storage.place import Place


@pytest.fixture
def folder(bucket: str) -> Place:
    return Place.of(bucket) / "lake/_locks"


def hold(folder: Place, *, stage: str = "ingest", seconds: float = 0, **how: timedelta) -> None:
    with leased(folder, stage, by=stage, what="lake", **how):
        time.sleep(seconds)


def test_a_second_process_is_told_who_holds_the_stage(folder: Place) -> None:
    with leased(folder, "ingest", by="ingest", what="lake"):
        with pytest.raises(InputError, match=rf"ingest of this lake is running already \(process {os.getpid()} on "):
            hold(folder)
        hold(folder, stage="pack")
    hold(folder)
    assert [*below(folder)] == [], "nothing is left"


def test_of_many_at_once_one_is_in_the_stage(folder: Place) -> None:
    inside = most = 0

    def one(_: int) -> bool:
        nonlocal inside, most
        try:
            with leased(folder, "ingest", by="ingest", what="lake"):
                inside += 1
                most = max(most, inside)
                time.sleep(0.3)
                inside -= 1
        except InputError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        came_in = sum(threads.map(one, range(16)))
    assert (most, came_in >= 1) == (1, True)


def test_a_lease_is_renewed_while_its_holder_lives(folder: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "MARGIN", timedelta(0))
    with leased(folder, "ingest", by="ingest", what="lake", length=timedelta(seconds=2)):
        time.sleep(4)
        with pytest.raises(InputError, match="is running already"):
            hold(folder)


def test_the_lease_of_a_killed_process_ends_by_itself(folder: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "MARGIN", timedelta(0))
    holder = multiprocessing.get_context("spawn").Process(
        target=hold, args=(folder,), kwargs={"seconds": 600, "length": timedelta(seconds=3)}
    )
    holder.start()
    while not [*below(folder)]:
        time.sleep(0.05)
    assert holder.pid is not None
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    with pytest.raises(InputError, match="is running already"):
        hold(folder)
    time.sleep(4)
    hold(folder)
    assert [*below(folder)] == []


def test_who_did_not_renew_in_time_is_told(folder: Place) -> None:
    def late() -> None:
        with leased(folder, "ingest", by="ingest", what="lake", length=timedelta(seconds=2)):
            create(folder / "ingest.lease/000000002", b"{}")  # what another process does once it has run out
            time.sleep(1.5)

    with pytest.raises(InputError, match="could not renew its lease in time"):
        late()
    assert [name for name, _ in below(folder)] == ["ingest.lease/000000002"], "the other's lease stays"


@pytest.mark.parametrize("text", [b"", b"[]", b"\xff", b'{"job": 1}'])
def test_a_damaged_lease_is_followed(folder: Place, text: bytes) -> None:
    write(folder / "ingest.lease/000000007", text)
    hold(folder)
    assert [*below(folder)] == []


def test_a_lease_that_has_run_out_is_followed(folder: Place) -> None:
    ended = (datetime.now(UTC) - timedelta(minutes=1)).isoformat(timespec="seconds")
    held = {"job": "ingest", "pid": 1, "host": "there", "since": ended, "until": ended}
    write(folder / "ingest.lease/000000007", json.dumps(held).encode())
    hold(folder)
