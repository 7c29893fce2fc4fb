"""Forgotten users are known by a hash, wherever their id stands in a text."""

from __future__ import annotations

import pyarrow as pa
import pytest

from pipelines.lake.suppression import Suppressed, possible_ids

SALT = b"salt"
NOBODY = Suppressed(SALT, {})


def known(*users: str) -> Suppressed:
    return Suppressed(SALT, {"p": frozenset(NOBODY.digest("p", user) for user in users)})


@pytest.mark.parametrize(
    "text",
    [
        '{"user_id": "u-1", "shown": [',
        '{"user_id": "\\u0075-1"}',
        "1\tu-1\t11/9/2019",
        "GET /?uid=u-1&x=2",
        "user:u-1;",
        "(u-1)",
        "u-1",
    ],
)
def test_an_id_is_found_in_any_text(text: str) -> None:
    assert known("u-1").in_text("p", text) == NOBODY.digest("p", "u-1")
    assert known("u-1").in_text("another source", text) is None


@pytest.mark.parametrize("text", ["xu-1", "u-12", "u-1-2", "u_1", "u", ""])
def test_a_longer_word_is_another_id(text: str) -> None:
    assert known("u-1").in_text("p", text) is None


@pytest.mark.parametrize("user", ["a:b", "user|7", "#12", "10.0.0.1", "æ.ø", "x@y.no"])
def test_ids_with_signs_in_them_are_found(user: str) -> None:
    assert known(user).in_text("p", f"2026-03-02 {user} x") is not None
    assert known(user).in_text("p", f'{{"user_id":"{user}"') is not None


def test_the_numbers_of_a_time_are_no_ids() -> None:
    assert possible_ids("2026-03-02T09:15:31Z") == {"2026-03-02T09:15:31Z"}
    assert known("15").in_text("p", '{"time": "2026-03-02T09:15:31Z", "user_id": 16}') is None
    assert known("15").in_text("p", '{"time": "2026-03-02T09:15:31Z", "user_id": 15}') is not None


def test_users_of_a_column_are_known_by_their_source() -> None:
    found = known("a").of_users("p", pa.array(["b", None, "a", "a"]))
    assert found.tolist() == [None, None, NOBODY.digest("p", "a"), NOBODY.digest("p", "a")]
    assert NOBODY.digest("p", "a") != NOBODY.digest("q", "a")
    assert "salt" not in repr(known("a"))
