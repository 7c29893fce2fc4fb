"""Which news may be recommended, by when they were shown."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from schemas.errors import InputError
from tests.exported import write_logs
from tests.trainer.serve.test_recommend import opened
from trainer.serve.pools import moment_of, new_since, shown_on

HALF_A_DAY = 720
VIEWS = [  # one each half a day, from 2026-01-01 00:00 on; the text of n20 is that of n5
    ("u1", 0, "n1 n5", "n1"),
    ("u2", 0, "n2 n1 x7", "n2"),
    ("u1", 0, "n3 n20 n2", ""),
    ("u3", 0, "n4", ""),
]


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    write_logs(tmp_path, VIEWS, {}, apart=HALF_A_DAY)
    return tmp_path


def test_the_pool_of_a_day_is_all_that_any_user_was_shown(lake: Path) -> None:
    assert shown_on(opened(), lake, date(2026, 1, 1)).tolist() == [1, 2, 5]
    assert shown_on(opened(), lake, date(2026, 1, 2)).tolist() == [2, 3, 4, 20]
    with pytest.raises(InputError, match="show no news of the export on 2026-01-03"):
        shown_on(opened(), lake, date(2026, 1, 3))


def test_new_is_what_was_first_shown_since_under_any_id_of_the_text(lake: Path) -> None:
    assert new_since(opened(), lake, moment_of("2026-01-01T12:00")).tolist() == [2, 3, 4]
    assert new_since(opened(), lake, moment_of("2026-01-02")).tolist() == [3, 4]
    assert new_since(opened(), lake, moment_of("2026-01-01")).tolist() == [1, 2, 3, 4, 5, 20]
    with pytest.raises(InputError, match=r"from 2026-01-04T00:00:00\+00:00 on"):
        new_since(opened(), lake, moment_of("2026-01-04"))


def test_a_moment_is_utc_unless_it_has_an_offset() -> None:
    assert moment_of("2026-01-02T03:00+01:00") == datetime(2026, 1, 2, 2, tzinfo=UTC) == moment_of("2026-01-02T02:00")
    with pytest.raises(InputError, match="write a UTC date or time such as"):
        moment_of("yesterday")
