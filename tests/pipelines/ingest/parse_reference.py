"""A slow, simple parser of log lines: one at a time, rule by rule, without the code under test."""

from __future__ import annotations

import json
import re
import unicodedata
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from pipelines.ingest.parse.mapping import EACH, EPOCHS, LISTS, LogMapping

Row = dict[str, Any]
DEEPEST = 500
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
WHITE = " \t\n\x0b\f\r"
ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?"
    r"(?: ?(?:(Z|UTC|GMT)|([+-])(\d\d)(?::?(\d\d))?))?",
    re.ASCII,
)


class Pairs(list[tuple[str, Any]]):
    """A JSON object."""


class Number(str):
    """A number of JSON as written."""


class Nothing:
    """The value of a path that enters no object."""


def refuse(name: str) -> Any:
    raise ValueError(name)


def loaded(text: str) -> Any:
    return json.loads(text, object_pairs_hook=Pairs, parse_int=Number, parse_float=Number, parse_constant=refuse)


def depth(value: Any) -> int:
    if not isinstance(value, list):
        return 0
    inner = (each for _, each in value) if isinstance(value, Pairs) else iter(value)
    return 1 + max(map(depth, inner), default=0)


def at(value: Any, path: tuple[str, ...]) -> Any:
    if not path or value is None:
        return value
    if path[0] == EACH:
        if isinstance(value, Pairs) or not isinstance(value, list):
            return Nothing
        found = [at(each, path[1:]) for each in value]
        return [None if each is Nothing else each for each in found]
    if not isinstance(value, Pairs):
        return Nothing
    return at(dict(value).get(path[0]), path[1:])


def twice(value: Any, paths: set[tuple[str, ...]]) -> bool:
    if isinstance(value, list) and not isinstance(value, Pairs):
        below = {path[1:] for path in paths if path and path[0] == EACH}
        return bool(below) and any(twice(each, below) for each in value)
    if not isinstance(value, Pairs):
        return False
    for name in {path[0] for path in paths if path}:
        values = [each for key, each in value if key == name]
        if len(values) > 1 or any(
            twice(each, {path[1:] for path in paths if path and path[0] == name}) for each in values
        ):
            return True
    return False


def written(value: Any) -> str:
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, Pairs):
        return "{" + ",".join(f"{written(name)}:{written(each)}" for name, each in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(written, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def text(value: Any) -> str | None:
    if value is None or value is Nothing:
        return None
    return str(value) if isinstance(value, str) else written(value)


def number_id(raw: str) -> str | None:
    if re.fullmatch(r"-?\d+", raw):
        return "0" if raw == "-0" else raw
    value = float(raw)
    return f"{value:.0f}".replace("-0", "0") if value == value // 1 and abs(value) < 2**53 else None


def as_id(value: Any) -> str | None:
    return number_id(value) if isinstance(value, Number) else text(value)


def cut(raw: str, split: str) -> list[str | None]:
    bare = raw.lstrip(WHITE + "[(").rstrip(WHITE + "])")
    if not bare:
        return []
    pieces = re.split("[ \t\n\x0b\f\r]+", bare) if split.isspace() else bare.split(split.strip())
    ids: list[str | None] = []
    for piece in pieces:
        plain = re.fullmatch(r"-?[0-9]+\.[0-9]*(E-?[0-9]+)?", piece.strip(WHITE))
        ids.append(number_id(plain[0]) if plain else piece.strip(WHITE + "'\""))
    return ids


def time_of(raw: str, mapping: LogMapping) -> datetime | None:
    if mapping.time_format in EPOCHS:
        if not re.fullmatch(r"-?[0-9]{1,20}(\.[0-9]*)?([eE]\+?[0-9]{1,2})?", raw):
            return None
        seconds = Decimal(raw).scaleb(EPOCHS[mapping.time_format])
        micros = int((seconds * 10**6).to_integral_value("ROUND_FLOOR"))
        return EPOCH + timedelta(microseconds=micros) if abs(seconds) < 60_000_000_000 else None
    plain = raw.split("[")[0].replace(",", ".").replace("t", "T").replace("z", "Z")
    plain = re.sub(r"^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)", r"\1-\2-\3 \4:\5:\6", plain, flags=re.ASCII)
    found = ISO.fullmatch(plain)
    if found is None:
        return None
    year, month, day, hour, minute, second = (int(found[i] or 0) for i in range(1, 7))
    micro = int((found[7] or "").ljust(6, "0")[:6])
    zone: Any = ZoneInfo(mapping.time_zone)
    if found[8] or found[9]:
        hours, minutes = int(found[10] or 0), int(found[11] or 0)
        if minutes > 59 or hours * 60 + minutes > 18 * 60:
            return None
        zone = timezone(timedelta(hours=hours, minutes=minutes) * (-1 if found[9] == "-" else 1))
    try:
        return datetime(year, month, day, hour, minute, second, micro, tzinfo=zone).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def none(id: str | None) -> bool:
    return id is None or not id.strip(" ")


def bad(id: str | None) -> bool:
    odd = id is not None and any(
        unicodedata.category(letter)[0] == "Z" or unicodedata.category(letter) in ("Cc", "Cs") or letter == "\\"
        for letter in id
    )
    return odd or (id is not None and len(id.encode("utf-8", "replace")) > 256)


def reference(line: bytes, mapping: LogMapping, arrived: datetime, earliest: date) -> Row:
    """The reason of the line, null if it is usable; then with all its fields."""
    if len(line) > 1 << 20:
        return {"reason": "too_long"}
    try:
        record = loaded(line.decode())
    except UnicodeDecodeError:
        return {"reason": "not_utf8"}
    except (ValueError, RecursionError):
        return {"reason": "not_json"}
    if not isinstance(record, Pairs) or depth(record) > DEEPEST:
        return {"reason": "not_json"}
    if twice(record, set(mapping.paths.values())):
        return {"reason": "duplicate_field"}
    return checked({name: at(record, path) for name, path in mapping.paths.items()}, mapping, arrived, earliest)


def checked(values: Row, mapping: LogMapping, arrived: datetime, earliest: date) -> Row:
    row: Row = {"impression_id": as_id(values.get("impression_id")), "user_id": as_id(values["user_id"])}
    containers = [isinstance(values.get(name), list) for name in list(row)]
    row["history"] = None if "history" in values else []
    row |= {"shown": None, "clicked": None}
    bad_mark = no_click = False
    for name in (name for name in LISTS if name in values):
        value, form = values[name], mapping.lists.get(name)
        if form is not None and form.split:
            raw = text(value)
            row[name] = None if raw is None else cut(raw, form.split)
        elif name == "clicked" and mapping.clicked_as == "id":
            row[name] = None if text(value) is None else [as_id(value)]
            no_click = isinstance(value, list)
        elif isinstance(value, list) and not isinstance(value, Pairs):
            row[name] = [as_id(each) for each in value]
            inner = any(isinstance(each, list) for each in value)
            containers.append(inner and name != "clicked")
            no_click |= inner and name == "clicked"
        else:
            bad_mark |= name == "clicked" and value is not None
        bad_mark |= name == "clicked" and value is Nothing
    bad_mark |= marked(row, mapping)
    if mapping.clicked_as in ("marks", "suffixes"):
        no_click = False
    if "shown" not in mapping.columns:
        row["shown"] = row["clicked"]
        containers.append(no_click)
    raw_time = text(values["time"])
    row["time"] = None if raw_time is None else time_of(raw_time, mapping)
    first = datetime(earliest.year, earliest.month, earliest.day, tzinfo=UTC)
    lists = [each for name in ("history", "shown") for each in row[name] or []]
    single = [row["user_id"]] + ([row["impression_id"]] if "impression_id" in mapping.columns else [])
    absent = [None in (row["history"], row["shown"]), raw_time is None or not raw_time.strip(" "), *containers]
    rules = {
        "missing_field": any(absent) or any(map(none, single + lists)),
        "bad_id": any(map(bad, single + lists + (row["clicked"] or []))),
        "bad_time": row["time"] is None or not first <= row["time"] <= arrived + timedelta(days=1),
        "nothing_shown": not row["shown"],
        "bad_click_mark": bad_mark or no_click or any(map(none, row["clicked"] or [])),
        "clicked_not_shown": not set(row["clicked"] or []) <= set(row["shown"] or []),
    }
    reason = next((name for name, broken in rules.items() if broken), None)
    if reason is not None:
        return {"reason": reason}
    once = list(dict.fromkeys(row["shown"]))
    repeated = len(once) < len(row["shown"])
    extra = {name: text(values[name]) for name in mapping.extra}
    fields = {name: row[name] for name in single_names(mapping)} | {"time": row["time"], "history": row["history"]}
    return fields | {"shown": once, "clicked_ids": row["clicked"], "repeated_news": repeated, **extra, "reason": None}


def single_names(mapping: LogMapping) -> list[str]:
    return [name for name in ("impression_id", "user_id") if name in mapping.columns]


def marked(row: Row, mapping: LogMapping) -> bool:
    """Replace the marks by the clicked news; whether the marks are wrong."""
    shown = row["shown"]
    if shown is None or mapping.clicked_as not in ("marks", "suffixes"):
        if mapping.clicked_as == "marks":
            row["clicked"] = None
        return False
    if mapping.clicked_as == "marks":
        marks = row["clicked"]
        if marks is None:
            return False
        row["clicked"] = [news for news, mark in zip(shown, marks, strict=False) if mark in ("1", "true")]
        return len(marks) != len(shown) or any(mark not in ("0", "1", "true", "false") for mark in marks)
    if None in shown:
        return False
    if all(news.endswith(("-0", "-1")) for news in shown):
        row["clicked"] = [news[:-2] for news in shown if news.endswith("-1")]
        row["shown"] = [news[:-2] for news in shown]
        return False
    return any(re.search(r"-[0-9]?\Z", news) for news in shown)
