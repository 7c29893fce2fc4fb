"""A small publisher whose logs and news are drawn, faults and all: views, lines, texts.

Everything is decided by one `random.Random`; odd texts and values may come from hypothesis.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from tests.pipelines.ingest.test_mutated_lines import MUTATIONS
from tests.pipelines.news.test_same_bits import WORDS

START = datetime(2026, 3, 27, tzinfo=UTC)  # Copenhagen loses an hour on the 29th
DAYS = 4
VIEWS = 60  # of a delivery and source
USERS = ["u1", "ü2", "日本", "4", "-5", "u6", "u7", "u8"]
NEWS = [*(f"n{at}" for at in range(1, 15)), "é", "e\u0301", "日本", "17", "!"]
UNKNOWN = ["n99", "-3", "9223372036854775808"]
GAPS = [0, 0, 1, 59, 86_400, 86_401, 90_000, -3600]  # seconds between what two lines say of one view
TEXTS = ["", " ", "\u00a0n1", "N\u0131", "\U0001f600", "a\u0000b", "\u2028", "\\", "ﬀ", "\u202en1", "İ", "x" * 300]
VALUES: list[Any] = [
    None, True, 0, -1, 7, 2**63, -(2**63) - 1, 10**400, 1.0, -0.0, 1e-7, 1e300, float("nan"), float("inf"), "", [], {},
    [[]], [None], {"id": "n1"}, ["n1", 2, None], "n1 n2", "null",
]  # fmt: skip
EXTRAS = [None, True, False, 0, 7, -1, 2.5, 3.0, "4", "-0.5", " 6 ", "true", "x"]
TIMES = [
    "2031-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z",
    "2026-02-30T00:00:00Z", "2026-03-28T24:00:00Z", "2026-03-28T23:59:60Z", "2026-03-28", "28.03.2026 10:00",
    "2026-03-28T10:00:00+99:00", 1774692000, "1774692000", "2026-03-28T10:00:00.1234567891Z", "2026-W13-6T10:00:00Z",
    "2026-03-28T10:00:00 Europe/Oslo", "\u0662\u0660\u0662\u0666-03-28T10:00:00Z",
]  # fmt: skip
View = dict[str, Any]
Form = Literal["mind", "mapped", "parquet"]
SOURCES = ("publisher", "it's ü")


@dataclass(frozen=True, kw_only=True)
class Publisher:
    """Two sources, and what is drawn for them."""

    draw: random.Random
    form: Form = "mapped"  # of the second source; the first writes our own JSON lines
    keyed: bool = False  # whether the second source's user ids are replaced
    texts: list[str] = field(default_factory=lambda: TEXTS)
    values: list[Any] = field(default_factory=lambda: VALUES)
    logged: dict[str, list[View]] = field(default_factory=dict)  # by form, what lines have said

    def views(self, form: str) -> list[View]:
        """Page views as lines tell of them: some more than once, not always alike."""
        logged = self.logged.setdefault(form, [])
        for at in range(len(logged), len(logged) + VIEWS):
            again = self.draw.choice(logged) if logged and self.draw.random() < 0.45 else None
            logged.append(self._view(at) if again is None else self._logged_again(again, at))
        return logged[-VIEWS:]

    def _view(self, at: int) -> View:
        news = self.draw.choices([*NEWS, *UNKNOWN], [9] * len(NEWS) + [1] * len(UNKNOWN), k=self.draw.randint(1, 6))
        shown = list(dict.fromkeys(news)) if self.draw.random() < 0.8 else news
        second = self.draw.randrange(DAYS * 86_400)
        return {
            "impression_id": str(self.draw.choice([at, at + 1000, "ï" + str(at % 7), -at])),
            "user_id": self.draw.choice(USERS),
            "time": START + timedelta(seconds=second, microseconds=self.draw.choice([0, 0, 1, 500_000, 999_999])),
            "history": self.draw.choices(NEWS, k=self.draw.choice([0, 1, 3, 8])),
            "shown": shown,
            "clicked": self.draw.choice([shown[:1], shown[:1], shown[-1:], [], shown, None]),
        }

    def _logged_again(self, view: View, at: int) -> View:
        if self.draw.random() < 0.3:  # another collector
            return view | {"impression_id": f"c{at}", "shown": view["shown"][::-1]}
        logged = {"time": view["time"] + timedelta(seconds=self.draw.choice(GAPS))}
        if self.draw.random() < 0.5:
            logged["clicked"] = self.draw.choice([view["shown"][-1:], [], None])
        if self.draw.random() < 0.5:
            logged["history"] = [*view["history"], self.draw.choice(NEWS)][-4:]
        return view | logged

    def spoilt(self, record: dict[str, Any]) -> dict[str, Any]:
        """The record, with an odd value in about one of seven."""
        if self.draw.random() > 0.15:
            return record
        name = self.draw.choice(list(record))
        if self.draw.random() < 0.2:
            return {key: value for key, value in record.items() if key != name}
        odd = [*self.values, *self.texts, *([self.draw.choice(self.texts)] for _ in range(2))]
        return record | {name: self.draw.choice(TIMES if name in ("time", "at") else odd)}

    def extra(self) -> Any:
        """The value of a column that is carried along: odd in one of ten."""
        return self.draw.choice(self.values) if self.draw.random() < 0.1 else self.draw.choice(EXTRAS)

    def json_of(self, record: dict[str, Any]) -> str:
        """A line of JSON, its values perhaps odd."""
        return json.dumps(self.spoilt(record), ensure_ascii=self.draw.random() < 0.5)

    def lines(self, good: list[str]) -> bytes:
        """The lines end to end, about one of nine with broken bytes, some twice; the last one may lack its end."""
        found = [line.encode("utf-8", "surrogatepass") for line in good]
        logged = [line for line in found for _ in range(self.draw.choice([1, 1, 1, 2]))]
        for at, line in enumerate(logged):
            if self.draw.random() < 1 / 9:
                logged[at] = self.draw.choice(MUTATIONS)(self.draw, line, self.draw.choice(found))
        self.draw.shuffle(logged)
        end = self.draw.choice([b"\n", b"\n", b"\r\n"])
        return end.join(logged) + self.draw.choice([end, b""])

    def text(self, most: int) -> str:
        words = [*WORDS * 3, *self.texts]
        return " ".join(self.draw.choices(words, k=self.draw.randrange(most + 1)))
