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

from pipelines.lake import leases
from pipelines.lake.leases import leased
from schemas.errors import InputError
from schemas.storage.files import below, create, read, remove, store_of, write
from schemas.storage.place import Place


@pytest.fixture
def folder(bucket: str) -> Place:
    return Place.of(bucket) / "lake/_locks"


def hold(folder: Place, *, stage: str = "ingest", seconds: float = 0, **how: timedelta) -> None:
    with leased(folder, stage, by=stage, what="lake", **how):
        time.sleep(seconds)


def test_a_second_process_learns_who_holds_the_stage(folder: Place) -> None:
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


def test_a_holder_that_did_not_renew_in_time_gets_an_error(folder: Place) -> None:
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


def test_who_slept_while_its_number_came_again_does_not_touch_the_lease_of_another(folder: Place) -> None:
    at = folder / "ingest.lease/000000001"
    now = datetime.now(UTC)
    others = {"job": "ingest", "pid": 1, "host": "there", "since": now.isoformat(), "token": "another"}
    text = json.dumps(others | {"until": (now + timedelta(minutes=1)).isoformat()}).encode()

    def asleep(seconds: float) -> None:
        with leased(folder, "ingest", by="ingest", what="lake", length=timedelta(seconds=2)):
            write(at, text)  # taken as number 2, given back, and taken as number 1 again
            time.sleep(seconds)

    for seconds in (0.0, 1.2):  # it wakes when it is done; it wakes to renew
        with pytest.raises(InputError, match="could not renew its lease in time"):
            asleep(seconds)
        assert read(at, largest=1 << 16) == text
        remove(at)


def test_a_lease_that_was_given_back_and_taken_again_is_not_passed_by(
    folder: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with leased(folder, "ingest", by="ingest", what="lake"):
        with monkeypatch.context() as patch:
            patch.setattr(leases, "_highest", lambda _: 3)  # as this process saw it, before 3 was given back
            with pytest.raises(InputError, match="another process has just begun"):
                hold(folder)
        assert [name for name, _ in below(folder)] == ["ingest.lease/000000001"]


def test_a_store_that_does_not_answer_is_no_reason_to_follow(folder: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> bytes:
        raise InputError("the store does not answer")

    with leased(folder, "ingest", by="ingest", what="lake"):
        with monkeypatch.context() as patch:
            patch.setattr(type(store_of(folder)[0]), "read", fails)
            with pytest.raises(InputError, match="does not answer"):
                hold(folder)
        assert [name for name, _ in below(folder)] == ["ingest.lease/000000001"]


def test_a_lease_whose_first_answer_was_lost_is_held(folder: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(place: Place, data: bytes) -> None:
        create(place, data)
        create(place, data)  # as the library tries again when an answer does not come

    monkeypatch.setattr(leases, "create", twice)
    hold(folder)
    assert [*below(folder)] == []
