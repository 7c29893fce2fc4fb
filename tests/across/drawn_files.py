"""What a drawn publisher writes: files of logs in several forms, and of news, in two deliveries."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.across.drawn_publisher import NEWS, SOURCES, Publisher, View

MAPPING = """
[log]
format = "jsonl"
files = "events/*.jsonl"
time_format = "yyyy-MM-dd HH:mm:ss"
time_zone = "Europe/Copenhagen"
clicked_as = "marks"
[columns]
impression_id = "event.id"
user_id = "event.user.id"
time = "event.at"
history = { column = "past", split = " " }
shown = { column = "items", field = "id" }
clicked = "clicks"
[extra]
device = "event.device"
read_seconds = { column = "seconds", type = "double" }
place = { column = "place", type = "long" }
known = { column = "known", type = "boolean" }
"""
PARQUET = """
[log]
format = "parquet"
files = "parts/*.parquet"
time_zone = "America/New_York"
[columns]
impression_id = "view"
user_id = "reader"
time = "shown_at"
history = "past"
shown = "slate"
clicked = "opened"
[extra]
score = { column = "score", type = "double" }
"""


def deliver(publisher: Publisher, folder: Path, delivery: int) -> dict[str, dict[str, Any]]:
    """Write what arrives by delivery 1 or 2; the options of ingest and of prepare_news by source."""
    key = folder / "key"
    key.write_text("a key of 16 bytes or more")
    options = {}
    for source, form, keyed in ((SOURCES[0], "own", False), (SOURCES[1], publisher.form, publisher.keyed)):
        below = folder / form
        below.mkdir(exist_ok=True)
        _WRITE[form](publisher, below, delivery)
        mapping = below / "mapping.toml"
        options[source] = {
            "logs": str(below),
            "mapping": mapping if mapping.exists() else None,
            "user_key_file": key if keyed else None,
            "news": _news(publisher, below, form, delivery),
        }
    return options


def _news(publisher: Publisher, folder: Path, form: str, delivery: int) -> Path | None:
    """The news file by this delivery: some changed, some gone, some new; None for a source without text."""
    if form == "mapped":
        return None
    known = NEWS[: len(NEWS) - 3] if delivery == 1 else NEWS[2:]
    rows = [(name, *(publisher.text(most) for most in (1, 2, 6, 9, 40))) for name in known]
    rows += [publisher.draw.choice(rows) for _ in range(3)]
    for at in range(4):  # the same text under another id, and nearly the same
        rows += [(f"x{at}", *rows[at][1:]), (f"y{at}", *rows[at][1:5], f"{rows[at][5]} more")]
    names = ("news_id", "category", "subcategory", "title", "abstract", "body")
    if form == "own":
        path = folder / "news.jsonl"
        path.write_bytes(publisher.lines([publisher.json_of(dict(zip(names, row, strict=True))) for row in rows]))
        return path
    path = folder / "news.tsv"
    cells = [(*row[:5], "url", "[]", "[]") if form == "mind" else row for row in rows]
    clean = [[each.replace("\t", " ").replace("\n", " ") for each in row] for row in cells]
    path.write_bytes(publisher.lines(["\t".join(row) for row in clean]))
    return path


def _own(publisher: Publisher, folder: Path, delivery: int) -> None:
    """Two collectors; the first one's file has grown by the second delivery."""
    (folder / "logs").mkdir(exist_ok=True)
    views = publisher.views("own")
    deliveries = []
    for some in (views[:30], views[20:]):
        records = [view | {"time": _iso(publisher.draw, view["time"])} for view in some]
        deliveries.append(publisher.lines([publisher.json_of(record) for record in records]))
    with (folder / "logs" / "a.jsonl").open("ab") as stream:
        stream.write(deliveries[0])
    (folder / "logs" / f"b{delivery}.jsonl.gz").write_bytes(gzip.compress(deliveries[1]))


def _iso(draw: random.Random, time: datetime) -> str | int:
    zone = timezone(timedelta(minutes=draw.choice([0, 330, -570, 845])))
    text = time.astimezone(zone).isoformat()
    plain = time.replace(tzinfo=None).isoformat()
    return draw.choice([f"{plain}Z", f"{plain}Z", text, text.replace("T", " "), plain, plain.replace("T", " ")])


def _mind(publisher: Publisher, folder: Path, delivery: int) -> None:
    lines = []
    for view in publisher.views("mind"):
        marks = {True: "-1", False: "-0"} if view["clicked"] is not None else {True: "", False: ""}
        shown = [f"{name}{marks[name in (view['clicked'] or ())]}" for name in view["shown"]]
        time = view["time"].strftime("%m/%d/%Y %I:%M:%S %p")
        cells = (view["impression_id"], view["user_id"], time, " ".join(view["history"]), " ".join(shown))
        record = publisher.spoilt(dict(enumerate(cells)))  # type: ignore[arg-type]
        lines.append("\t".join(str(cell) for cell in record.values()))
    (folder / f"behaviors{delivery}.tsv").write_bytes(publisher.lines(lines))


def _mapped(publisher: Publisher, folder: Path, delivery: int) -> None:
    (folder / "events").mkdir(exist_ok=True)
    (folder / "mapping.toml").write_text(MAPPING)
    draw, lines = publisher.draw, []
    for view in publisher.views("mapped"):
        user = publisher.spoilt({"id": view["user_id"]})
        at = view["time"].strftime("%Y-%m-%d %H:%M:%S")
        event = {"id": view["impression_id"], "user": user, "at": at, "device": draw.choice(publisher.texts)}
        clicks = None if view["clicked"] is None else [int(name in view["clicked"]) for name in view["shown"]]
        past = " ".join(view["history"])
        record = {"event": publisher.spoilt(event), "past": past, "items": [{"id": name} for name in view["shown"]]}
        record |= {"clicks": clicks, **{name: publisher.extra() for name in ("seconds", "place", "known")}}
        lines.append(publisher.json_of(record))
    (folder / "events" / f"{delivery}.jsonl").write_bytes(publisher.lines(lines))


def _parquet(publisher: Publisher, folder: Path, delivery: int) -> None:
    (folder / "parts").mkdir(exist_ok=True)
    (folder / "mapping.toml").write_text(PARQUET)
    draw, views = publisher.draw, publisher.views("parquet")

    def column(of: Callable[[View], Any], kind: pa.DataType, lost: float = 0.08) -> pa.Array:
        return pa.array([None if draw.random() < lost else of(view) for view in views], kind)

    zone = draw.choice([None, "UTC", "Europe/Oslo"])
    texts = pa.list_(draw.choice([pa.string(), pa.large_string()]))
    columns = {
        "view": column(lambda view: view["impression_id"], pa.string()),
        "reader": column(lambda view: view["user_id"], pa.string()),
        "shown_at": column(
            lambda view: view["time"].replace(tzinfo=None), pa.timestamp(draw.choice(["us", "ns"]), zone)
        ),
        "past": column(lambda view: view["history"], texts),
        "slate": column(lambda view: [*view["shown"], *draw.choice([[], [], [None], publisher.texts[:1]])], texts),
        "opened": column(lambda view: view["clicked"], texts),
        "score": column(lambda _: draw.choice([0.1, -0.0, float("nan"), float("inf"), 1e300, 5e-324]), pa.float64()),
    }
    pq.write_table(pa.table(columns), folder / "parts" / f"{delivery}.parquet")


_WRITE: dict[str, Callable[[Publisher, Path, int], None]] = {
    "own": _own,
    "mind": _mind,
    "mapped": _mapped,
    "parquet": _parquet,
}
