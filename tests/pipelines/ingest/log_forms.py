"""Forms in which publishers keep their logs: a file and a mapping each, and all hold the same two impressions."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

AT = datetime(2019, 11, 15, 6, 15, 2)
SECONDS = 1_573_798_502
EXPECTED = [("1541", "7", AT, ["10", "11"], ["12", "13"], ["12"]), ("1542", "8", AT, [], ["13", "14"], [])]
TEXTS = [("1541", "7", "10 11", "12-1 13-0"), ("1542", "8", "", "13-0 14-0")]


@dataclass(frozen=True, kw_only=True)
class Form:
    """One form: what writes its file, and the TOML of its mapping without `files`."""

    write: Callable[[Path], object]
    columns: dict[str, str] = field(default_factory=dict)  # TOML values, by our field
    log: dict[str, str] = field(default_factory=dict)
    name: str = "a.parquet"
    without: tuple[str, ...] = ()
    seconds: int = 0  # seconds of the time that the form cannot hold

    def mapping(self) -> str:
        """The mapping file."""
        kind = "parquet" if self.name.endswith(".parquet") else "jsonl"
        log = {"format": kind, "files": f"data/{self.name}"} | self.log
        plain = {name: f'"{name}"' for name in ("impression_id", "user_id", "time", "history", "shown", "clicked")}
        columns = {name: value for name, value in (plain | self.columns).items() if name not in self.without}
        lines = ["[log]", *(f"{name} = {json.dumps(value)}" for name, value in log.items()), "[columns]"]
        return "\n".join([*lines, *(f"{name} = {value}" for name, value in columns.items())]) + "\n"

    def put(self, folder: Path) -> Path:
        """Write the file and its mapping below the folder; the mapping's path."""
        (folder / "data").mkdir(parents=True)
        self.write(folder / "data" / self.name)
        (folder / "mapping.toml").write_text(self.mapping())
        return folder / "mapping.toml"


def table(**columns: Any) -> dict[str, Any]:
    """The two impressions as columns; those given instead of their own."""
    own: dict[str, Any] = {
        "impression_id": ["1541", "1542"],
        "user_id": ["7", "8"],
        "time": pa.array([AT, AT], pa.timestamp("us")),
        "history": pa.array([["10", "11"], []], pa.list_(pa.string())),
        "shown": [["12", "13"], ["13", "14"]],
        "clicked": pa.array([["12"], []], pa.list_(pa.string())),
        "comment": ["not read", "nor this"],
    }
    return own | columns


def parquet(**columns: Any) -> Callable[[Path], object]:
    """What writes them as Parquet; a column of None is left out."""
    own = {name: column for name, column in table(**columns).items() if column is not None}
    return lambda path: pq.write_table(pa.table(own), path)


def record(at: int, **fields: Any) -> dict[str, Any]:
    """One of the two impressions as a JSON object; a field of ... is left out."""
    name, user, _, history, shown, clicked = EXPECTED[at]
    own = {"impression_id": name, "user_id": user, "time": f"{AT}Z", "history": history, "shown": shown}
    return {key: value for key, value in (own | {"clicked": clicked} | fields).items() if value is not ...}


def lines(*, encoding: str = "utf-8", **fields: Callable[[int], Any]) -> Callable[[Path], object]:
    """What writes them as JSON lines."""
    texts = [json.dumps(record(at, **{name: of(at) for name, of in fields.items()})) for at in (0, 1)]
    return lambda path: path.write_bytes("".join(text + "\n" for text in texts).encode(encoding))


def text(value: str) -> Callable[[Path], object]:
    """What writes a file of this text."""
    return lambda path: path.write_text(value)


def _time_text(value: str | float, zone: str = "UTC", kind: str = "iso", seconds: int = 0) -> Form:
    return Form(
        name="a.jsonl", write=lines(time=lambda _: value), log={"time_format": kind, "time_zone": zone}, seconds=seconds
    )


def _column(seconds: int = 0, **columns: Any) -> Form:
    return Form(write=parquet(**columns), seconds=seconds)


def _ints(unit: str, of: Any) -> Form:
    return Form(write=parquet(time=of), log={"time_format": f"epoch_{unit}"})


NS = [SECONDS * 10**9 + 789] * 2
OBJECT = pa.struct([("id", pa.int64()), ("clicked", pa.int8())])
TIMES = {
    "Z": _time_text("2019-11-15T06:15:02Z"),
    "+0000": _time_text("2019-11-15 06:15:02+0000"),
    "+00": _time_text("2019-11-15T06:15:02+00"),
    "blank before the offset": _time_text("2019-11-15 07:15:02 +0100"),
    "UTC": _time_text("2019-11-15 06:15:02 UTC"),
    "one decimal": _time_text("2019-11-15T06:15:02.0Z"),
    "nine decimals": _time_text("2019-11-15T06:15:02.000000789Z"),
    "comma": _time_text("2019-11-15 06:15:02,000"),
    "no seconds": _time_text("2019-11-15T06:15Z", seconds=2),
    "compact": _time_text("20191115T061502Z"),
    "region": _time_text("2019-11-15T07:15:02+01:00[Europe/Oslo]"),
    "local": _time_text("2019-11-15 07:15:02", "Europe/Oslo"),
    "local, nine decimals": _time_text("2019-11-15T07:15:02.000000789", "Europe/Oslo"),
    "seconds": _time_text(SECONDS, kind="epoch_seconds"),
    "seconds in fractions": _time_text(SECONDS + 0.0000004, kind="epoch_seconds"),
    "milliseconds": _time_text(SECONDS * 1000, kind="epoch_milliseconds"),
    "milliseconds as a float": _time_text(SECONDS * 1000.0, kind="epoch_milliseconds"),
    "microseconds": _time_text(SECONDS * 10**6, kind="epoch_microseconds"),
    "nanoseconds": _time_text(SECONDS * 10**9, kind="epoch_nanoseconds"),
    "a text of seconds": _time_text(f"{SECONDS}.000", kind="epoch_seconds"),
}
TIME_COLUMNS = {
    "timestamp[ns]": _column(time=pa.array(NS, pa.timestamp("ns"))),
    "timestamp[ns, UTC]": _column(time=pa.array(NS, pa.timestamp("ns", "UTC"))),
    "timestamp[ns, Oslo]": _column(time=pa.array(NS, pa.timestamp("ns", "Europe/Oslo"))),
    "timestamp[ms]": _column(time=pa.array([AT, AT], pa.timestamp("ms"))),
    "INT96": Form(
        write=lambda path: pq.write_table(pa.table(table()), path, use_deprecated_int96_timestamps=True),
    ),
    "date32": _column(time=pa.array([date(2019, 11, 15)] * 2), seconds=6 * 3600 + 15 * 60 + 2),
    "int64 of seconds": _ints("seconds", [SECONDS] * 2),
    "int64 of microseconds": _ints("microseconds", [SECONDS * 10**6] * 2),
    "int64 of nanoseconds": _ints("nanoseconds", NS),
    "double of seconds": _ints("seconds", [float(SECONDS)] * 2),
    "decimal of seconds": _ints("seconds", [Decimal(SECONDS)] * 2),
    "text": _column(time=[f"{AT}+0000"] * 2),
    "categories": _column(time=pa.array([f"{AT}+0000"] * 2).dictionary_encode()),
    "unmapped timestamp[ns]": _column(other=pa.array(NS, pa.timestamp("ns"))),
    "unmapped time64 and null": _column(other=pa.array([1, 2], pa.time64("us")), more=pa.nulls(2)),
}
IDS = {
    "int64": _column(impression_id=[1541, 1542], user_id=pa.array([7, 8], "uint64"), shown=[[12, 13], [13, 14]]),
    "double": _column(
        impression_id=[1541.0, 1542.0], user_id=pa.array([7, 8], pa.float32()), shown=[[12.0, 13.0], [13.0, 14.0]]
    ),
    "decimal": _column(impression_id=[Decimal("1541.00"), Decimal("1542.00")], user_id=[Decimal(7), Decimal(8)]),
    "binary": _column(impression_id=[b"1541", b"1542"], shown=[[b"12", b"13"], [b"13", b"14"]]),
    "categories of ids": _column(user_id=pa.array(["7", "8"]).dictionary_encode()),
    "large_string, large_list": _column(
        user_id=pa.array(["7", "8"], pa.large_string()),
        shown=pa.array([["12", "13"], ["13", "14"]], pa.large_list(pa.large_string())),
    ),
    "JSON numbers": Form(
        name="a.jsonl", write=lines(impression_id=lambda at: 1541 + at, history=lambda at: [[10, 11], []][at])
    ),
    "JSON floats": Form(
        name="a.jsonl",
        write=lines(
            impression_id=lambda at: 1541.0 + at, user_id=lambda at: 7.0 + at, history=lambda at: [[10.0, 11.0], []][at]
        ),
    ),
}
LISTS = {
    "fixed_size_list": _column(shown=pa.array([["12", "13"], ["13", "14"]], pa.list_(pa.string(), 2))),
    "list of objects": Form(
        write=parquet(shown=pa.array([[(12, 1), (13, 0)], [(13, 0), (14, 0)]], pa.list_(OBJECT)), clicked=None),
        columns={
            "shown": '{ column = "shown", field = "id" }',
            "clicked": '{ column = "shown", field = "clicked" }',
        },
        log={"clicked_as": "marks"},
    ),
    "text of ids": Form(
        write=parquet(history=["10 11", ""]), columns={"history": '{ column = "history", split = " " }'}
    ),
    "MIND's text": Form(
        write=parquet(shown=[shown for *_, shown in TEXTS], clicked=None),
        columns={"shown": '{ column = "shown", split = " " }'},
        log={"clicked_as": "suffixes"},
        without=("clicked",),
    ),
    "printed list": Form(
        write=parquet(history=["[10, 11]", "[]"], shown=["['12', '13']", '["13","14"]']),
        columns={name: f'{{ column = "{name}", split = "," }}' for name in ("history", "shown")},
    ),
    "JSON objects": Form(
        name="a.jsonl",
        write=lines(shown=lambda at: [{"id": id, "at": {"x": 1}} for id in EXPECTED[at][4]]),
        columns={"shown": '{ column = "shown", field = "id" }'},
    ),
    "JSON text": Form(
        name="a.jsonl",
        write=lines(history=lambda at: " ".join(EXPECTED[at][3])),
        columns={"history": '{ column = "history", split = " " }'},
    ),
    "JSON text, MIND's": Form(
        name="a.jsonl",
        write=lines(shown=lambda at: TEXTS[at][3], clicked=lambda _: ...),
        columns={"shown": '{ column = "shown", split = " " }'},
        log={"clicked_as": "suffixes"},
        without=("clicked",),
    ),
}
ODD = {"user_id": "'\"user.id\"'", "time": '"@timestamp"', "shown": '"shown news"', "impression_id": '\'"a.b"."c d"\''}
PLAIN = {"user_id": None, "time": None, "shown": None, "impression_id": None}
NAMES = {
    "Parquet names": Form(
        write=parquet(
            **PLAIN,
            **{"user.id": ["7", "8"], "@timestamp": [AT, AT], "shown news": [["12", "13"], ["13", "14"]]},
            **{"a.b": [{"c d": 1541}, {"c d": 1542}]},
        ),
        columns=ODD,
    ),
    "JSON names": Form(
        name="a.jsonl",
        write=lines(
            **{
                "user.id": lambda at: EXPECTED[at][1],
                "@timestamp": lambda _: f"{AT}Z",
                "shown news": lambda at: EXPECTED[at][4],
            },
            **{"a.b": lambda at: {"c d": 1541 + at}},
            **dict.fromkeys(PLAIN, lambda _: ...),
        ),
        columns=ODD,
    ),
    "Parquet names by case": Form(
        write=parquet(user_id=None, impression_id=None, ID=["1541", "1542"], id=["7", "8"], Id=[0, 0]),
        columns={"impression_id": '"ID"', "user_id": '"id"'},
    ),
    "JSON names by case": Form(
        name="a.jsonl",
        write=lines(
            ID=lambda at: 1541 + at,
            id=lambda at: 7 + at,
            Id=lambda at: [],
            impression_id=lambda _: ...,
            user_id=lambda _: ...,
        ),
        columns={"impression_id": '"ID"', "user_id": '"id"'},
    ),
}
FILES = {
    "one array": Form(name="a.json", write=text(json.dumps([record(0), record(1)], indent=2))),
    "one array, BOM": Form(name="a.json", write=text("\ufeff " + json.dumps([record(0), record(1)]))),
    "BOM": Form(name="a.jsonl", write=lines(encoding="utf-8-sig")),
}
FORMS = TIMES | TIME_COLUMNS | IDS | LISTS | NAMES | FILES

assert len(FORMS) == sum(map(len, (TIMES, TIME_COLUMNS, IDS, LISTS, NAMES, FILES))), "a name is given twice"
