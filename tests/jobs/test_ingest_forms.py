"""Logs sampled over encodings, forms of times and lists, and names of files: no line is lost, no traceback."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.cli.command_line import run
from jobs.ingest import ingest
from pipelines.compressed import with_compressed
from tests.compressing import packed

SECOND = 1_573_798_502
FILES = 5  # in a log
TIMES: dict[str, tuple[str, Callable[[int], Any]]] = {
    "Z": ("iso", lambda at: f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%S}Z"),
    "+0000": ("iso", lambda at: f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}+0000"),
    "decimals": ("iso", lambda at: f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%S}.123456789 +00"),
    "seconds": ("epoch_seconds", lambda at: at),
    "fractions": ("epoch_seconds", lambda at: at + 0.25),
    "milliseconds": ("epoch_milliseconds", lambda at: at * 1000),
    "nanoseconds": ("epoch_nanoseconds", lambda at: at * 10**9),
    "another unit": ("epoch_microseconds", lambda at: at),
    "no time": ("iso", lambda at: f"{datetime.fromtimestamp(at, UTC):%d.%m.%Y}"),
}
LISTS: dict[str, tuple[str, Callable[[list[int]], Any]]] = {
    "plain": ('"shown"', lambda ids: ids),
    "texts": ('"shown"', lambda ids: [f"N{id}" for id in ids]),
    "floats": ('"shown"', lambda ids: [float(id) for id in ids]),
    "blanks": ('{ column = "shown", split = " " }', lambda ids: " ".join(f"N{id}" for id in ids)),
    "printed": ('{ column = "shown", split = "," }', str),
    "objects": ('{ column = "shown", field = "id" }', lambda ids: [{"id": id, "x": "y"} for id in ids]),
}
BROKEN = ("rubbish", "{}", '{"impression_id": 1', "{'impression_id': 1}", "7", "null", '{"impression_id": 1e400}', "")
NAMES = st.text("abNÅé日 #%+[]{}()'\"~=&;,@!.*?:-", min_size=1, max_size=12).filter(lambda name: name[0] not in "._")
ENCODINGS = ("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "latin-1")
RECORDS = st.lists(st.integers(0, 20) | st.sampled_from(BROKEN), min_size=1, max_size=8)


def record(number: int, time: Callable[[int], Any], shown: Callable[[list[int]], Any]) -> dict[str, Any]:
    ids = [number, number + 1 + number % 3]
    return {
        "impression_id": number,
        "user_id": f"ü{number % 4}",
        "time": time(SECOND + number // 2),
        "shown": shown(ids),
    }


@st.composite
def drawn_file(draw: st.DrawFn, kind: str, of: Callable[[int], dict[str, Any]]) -> tuple[str, tuple[bytes, int]]:
    """One file of the log: its name, its bytes, and its number of lines."""
    name, records = draw(NAMES), draw(RECORDS)
    if kind == "parquet":
        reported = [of(number) for number in records if isinstance(number, int)] or [of(0)]
        stream = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(reported), stream)
        return f"{name}.parquet", (stream.getvalue(), len(reported))
    lines = [json.dumps(of(each)) if isinstance(each, int) else each for each in records]
    if kind == "array":
        lines = [line for line in lines if line not in BROKEN] or ["{}"]
    text = f"[{','.join(lines)}]" if kind == "array" else "\n".join(lines) + "\n"
    content = text.encode(draw(st.sampled_from(ENCODINGS)), "replace")
    name += draw(st.sampled_from([".json"] * 4 + [*with_compressed(".json")]))
    return name, (packed(name, content), len(lines))


@st.composite
def logs(draw: st.DrawFn) -> tuple[str, dict[str, tuple[bytes, int]]]:
    """A mapping, and the files of the log."""
    kind = draw(st.sampled_from(("lines", "lines", "array", "parquet")))
    time_format, time = TIMES[draw(st.sampled_from(sorted(TIMES)))]
    shown, ids = LISTS[draw(st.sampled_from(sorted(LISTS)))]
    one = drawn_file(kind, lambda number: record(number, time, ids))
    format = "parquet" if kind == "parquet" else "jsonl"
    mapping = f'[log]\nformat = "{format}"\nfiles = "data/*"\ntime_format = "{time_format}"\n[columns]\n'
    mapping += f'impression_id = "impression_id"\nuser_id = "user_id"\ntime = "time"\nshown = {shown}\n'
    return mapping, dict(draw(one) for _ in range(FILES))


def tried(folder: Path, mapping: str, files: dict[str, tuple[bytes, int]]) -> None:
    """Checks the job's counts against the written lines."""
    (folder / "data").mkdir()
    (folder / "mapping.toml").write_text(mapping, "utf-8-sig")
    for name, (content, _) in files.items():
        (folder / "data" / name).write_bytes(content)
    options = ["--logs", str(folder), "--lake", str(folder / "lake"), "--mapping", str(folder / "mapping.toml")]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(ingest, options)
    assert code in (0, 2)
    assert "Traceback" not in err.getvalue()
    assert (code == 2) == bool(err.getvalue())
    if not out.getvalue():
        assert code == 2
        return
    summary = json.loads(out.getvalue())
    unreadable = {Path(name).name for name in summary["unreadable_files"]}
    assert summary["lines"] == summary["impressions"] + summary["merged"] + summary["rejected"]
    assert summary["lines"] == sum(count for name, (_, count) in files.items() if name not in unreadable)
    assert (code == 2) == bool(unreadable)


CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large]


@pytest.mark.usefixtures("spark")
@settings(max_examples=2, derandomize=True, suppress_health_check=CHECKS)
@given(drawn=logs())
def test_drawn_logs_balance(drawn: tuple[str, dict[str, tuple[bytes, int]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tried(Path(folder), *drawn)


@pytest.mark.slow
@pytest.mark.usefixtures("spark")
@settings(max_examples=13, suppress_health_check=CHECKS)
@given(drawn=logs())
def test_many_drawn_logs_balance(drawn: tuple[str, dict[str, tuple[bytes, int]]]) -> None:
    """13 logs of 5 files: 65 inputs."""
    with tempfile.TemporaryDirectory() as folder:
        tried(Path(folder), *drawn)
