"""A slow, simple reader of the publisher's logs: why a line is rejected, and what the good ones resolve to."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

LONGEST = 1 << 20
ISO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)")


@dataclass(frozen=True)
class ParsedLine:
    """The fields of a good line."""

    impression_id: str
    user_id: str
    time: datetime
    history: list[str]
    shown: list[str]
    clicked: set[str] | None


def reason_against(line: bytes) -> str | None:
    """The reason why the line holds no impression; None if it holds one."""
    if len(line) > LONGEST:
        return "too_long"
    try:
        pairs = json.loads(line.decode("utf-8"), object_pairs_hook=Pairs)
    except UnicodeDecodeError:
        return "not_utf8"
    except ValueError:
        return "not_json"
    if not isinstance(pairs, Pairs):
        return "not_json"
    fields = dict(pairs)
    if len(fields) < len(pairs):
        return "duplicate_field"
    if any(fields.get(name) is None for name in ("impression_id", "user_id", "time", "shown")):
        return "missing_field"
    if any(re.search(r"[\x00-\x1f\\]", fields[name]) for name in ("impression_id", "user_id")):
        return "bad_id"
    time = time_of(fields["time"])
    if time is None or not 2000 <= time.year <= 2030:
        return "bad_time"
    if not fields["shown"]:
        return "nothing_shown"
    clicked = fields.get("clicked") or []
    if not isinstance(clicked, list) or isinstance(clicked, Pairs) or not all(clicked):
        return "bad_click_mark"
    return None if set(clicked) <= set(fields["shown"]) else "clicked_not_shown"


class Pairs(list[tuple[str, Any]]):
    """A JSON object with all its fields, including those with the same name."""


def time_of(text: str) -> datetime | None:
    """The time in UTC; None if it is invalid."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC) if ISO_TIME.fullmatch(text) else None
    except ValueError:
        return None


def parsed_line(line: bytes) -> ParsedLine:
    """The fields of a good line, its times in UTC and each shown news once."""
    fields = json.loads(line)
    time = time_of(fields["time"])
    assert time is not None
    clicked = fields.get("clicked")
    return ParsedLine(
        impression_id=fields["impression_id"],
        user_id=fields["user_id"],
        time=time,
        history=fields["history"],
        shown=list(dict.fromkeys(fields["shown"])),
        clicked=None if clicked is None else set(clicked),
    )


def one_impression(a: ParsedLine, b: ParsedLine) -> bool:
    """Whether two lines of one user log one page view by themselves, without a third that joins them."""
    same_id = a.impression_id == b.impression_id and abs(a.time - b.time) <= timedelta(hours=24)
    return same_id or (a.time == b.time and set(a.shown) == set(b.shown))


def impressions_of(lines: Iterable[bytes]) -> list[dict[str, Any]]:
    """Every impression in the good lines, by comparing each line of a user with each other one."""
    by_user: dict[str, list[ParsedLine]] = defaultdict(list)
    for line in lines:
        if reason_against(line) is None:
            parsed = parsed_line(line)
            by_user[parsed.user_id].append(parsed)
    return [united(group) for parsed in by_user.values() for group in groups_of(parsed)]


def groups_of(parsed: list[ParsedLine]) -> list[list[ParsedLine]]:
    """Groups of lines that are joined pair by pair."""
    groups: list[list[ParsedLine]] = []
    for line in parsed:
        joined = [group for group in groups if any(one_impression(line, other) for other in group)]
        groups = [group for group in groups if not any(group is taken for taken in joined)]
        groups.append([line, *(other for group in joined for other in group)])
    return groups


def united(group: list[ParsedLine]) -> dict[str, Any]:
    """The row of one impression."""
    time = min(parsed.time for parsed in group)
    impression_id = min(parsed.impression_id for parsed in group if parsed.time == time)
    lists = {tuple(parsed.shown) for parsed in group}
    shown = list(*lists) if len(lists) == 1 else sorted({news for parsed in group for news in parsed.shown})
    marks = [parsed.clicked for parsed in group if parsed.clicked is not None]
    clicked = set[str]().union(*marks)
    return {
        "impression_id": impression_id,
        "also_seen_as": sorted({parsed.impression_id for parsed in group} - {impression_id}),
        "user_id": group[0].user_id,
        "time": time,
        "last_time": max(parsed.time for parsed in group),
        "history": max((parsed.history for parsed in group), key=len),
        "shown": shown,
        "clicked": [news in clicked for news in shown] if marks else None,
    }
