"""10,000 lines that were good once: every one of them is usable or has one reason, and none stops the run."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from pipelines.ingest.discover.sources import find_new, log_paths
from pipelines.ingest.flow import ingest_logs
from pipelines.ingest.parse.lines import keep_parsed, keep_rejects, with_parsed
from pipelines.lake.tables import Lake
from schemas.impression import IMPRESSIONS
from schemas.raw_log import REJECT_REASONS, REJECTS
from tests.builders import ARRIVED, json_line, mind_line, raw_logs, rows, write_logs
from tests.conftest import SEED

LINES = 10_000
Mutation = Callable[[random.Random, bytes, bytes], bytes]


def flipped(draw: random.Random, line: bytes, _: bytes) -> bytes:
    found = bytearray(line)
    for _at in range(draw.randint(1, 8)):
        found[draw.randrange(len(found))] ^= 1 << draw.randrange(8)
    return bytes(found)


def inserted(what: bytes) -> Mutation:
    def insert(draw: random.Random, line: bytes, _: bytes) -> bytes:
        at = draw.randrange(len(line) + 1)
        return line[:at] + what + line[at:]

    return insert


def swapped_value(what: bytes) -> Mutation:
    """Another value for one field of the JSON line; in a MIND line, for one column."""

    def swap(draw: random.Random, line: bytes, _: bytes) -> bytes:
        columns = line.split(b"\t")
        if len(columns) > 1:
            columns[draw.randrange(len(columns))] = what
            return b"\t".join(columns)
        fields = line[1:-1].split(b', "')
        at = draw.randrange(len(fields))
        fields[at] = fields[at].split(b":")[0] + b": " + what
        return b"{" + b', "'.join(fields) + b"}"

    return swap


def doubled(draw: random.Random, line: bytes, _: bytes) -> bytes:
    fields = line[1:-1].split(b', "')
    return b"{" + b', "'.join([*fields, draw.choice(fields).removeprefix(b'"')]) + b"}"


VALUES = (
    b"null", b"true", b"7", b"-1", b"1e999999", b"0." + b"9" * 3000, b"1" * 5000, b'""', b'" "', b"[]", b"{}", b"[[1]]",
    b'[{"a": 1}]', b"[null]", b'[""]', b'"C:\\\\new\\\\table"', b'"C:\\new"', b'"2031-01-01T00:00:00Z"', b"NaN",
    b'"2026-03-02T09:15:31+14:00"', b'"2026-03-02T09:15:31-99:00"', b'"\\ud83d"', b'["\\udc00\\ud800", "n3"]', b"'n3'",
    b'"0001-01-01T00:00:00Z"', b'"' + b"i" * 300 + b'"', b"\xc3\xa9" * 200, b"[" * 100_000, b'{"a":' * 3000,
)  # fmt: skip
PIECES = (
    b"\x00", b"\r", b"\t", b" ", b"\\", b'"', b"{", b"}", b"[", b"]", b",", b"-", b"\xff", b"\xc2\xa0", b"\xed\xa0\x80",
    b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\\u0000", b"\\ud800", b"/*", b"}{", b'"}', b"\x1b[31m", b"N1-1 ", b"-1",
)  # fmt: skip
MUTATIONS: tuple[Mutation, ...] = (
    lambda _, line, __: line,
    flipped,
    flipped,
    lambda draw, line, _: line[: draw.randrange(len(line))],
    lambda draw, line, _: line[draw.randrange(len(line)) :],
    lambda _, line, other: line + other,
    lambda _, line, other: line + b", " + other,
    lambda draw, line, other: line[: draw.randrange(len(line))] + other[draw.randrange(len(other)) :],
    lambda draw, line, _: draw.randbytes(draw.randrange(400)),
    lambda _, line, __: line.decode().encode("utf-16"),
    doubled,
    *map(inserted, PIECES),
    *map(swapped_value, VALUES),
)


def mutated(lines: list[str]) -> list[bytes]:
    draw = random.Random(SEED)
    good = [line.encode() for line in lines]
    mutants = [MUTATIONS[at % len(MUTATIONS)](draw, draw.choice(good), draw.choice(good)) for at in range(LINES - 2)]
    return [*mutants, good[0][:-1] + b"x" * (10 << 20), b"\x00" * (10 << 20)]


def json_lines() -> list[str]:
    return [json_line(str(at), clicked=["n3"] if at % 3 else None, more={"a": [at, "}"]}) for at in range(20)]


def mind_lines() -> list[str]:
    return [mind_line(str(at), shown="N3-1 N4-0" if at % 3 else "N3 N4") for at in range(20)]


@pytest.mark.parametrize(("format", "lines"), [("jsonl", json_lines()), ("mind", mind_lines())])
def test_every_line_is_usable_or_has_a_reason(spark: SparkSession, format: str, lines: list[str]) -> None:
    parsed = with_parsed(raw_logs(spark, *mutated(lines), format=format), format).persist()
    reasons = dict(rows(parsed.groupBy("reason").count()))
    assert set(reasons) <= {None, *REJECT_REASONS}
    assert sum(reasons.values()) == LINES
    assert (keep_parsed(parsed).count(), keep_rejects(parsed).count()) == (reasons[None], LINES - reasons[None])
    assert reasons[None] > LINES // 100
    assert len(reasons) > len(REJECT_REASONS) // 2
    usable = keep_parsed(parsed)
    ids = F.concat(F.array("impression_id", "user_id"), "history", "shown", F.coalesce("clicked_ids", F.array()))
    odd = F.exists(ids, lambda id: (F.trim(id) == "") | id.rlike(r"[\s\p{Cc}\p{Z}\\]") | (F.octet_length(id) > 256))
    broken = odd | (F.size("shown") == 0) | (F.size(F.array_except("clicked_ids", "shown")) > 0)
    assert usable.where(broken | F.col("time").isNull()).count() == 0
    parsed.unpersist()


def test_files_of_them_are_ingested_and_the_counts_balance(spark: SparkSession, tmp_path: Path) -> None:
    lines = mutated(json_lines())
    logs = write_logs(tmp_path / "logs", {"a.jsonl": lines[: LINES // 2], "b.jsonl.gz": lines[LINES // 2 :]})
    lake = Lake(spark, str(tmp_path / "lake"))
    find = partial(find_new, log_paths(logs, "auto", None), logs, None)
    summary = ingest_logs(lake, find, source="publisher", arrived_at=ARRIVED, max_reject_share=1.0)
    expected = (b"\n".join(lines) + b"\n").splitlines()
    assert summary["lines"] == len(expected) > LINES  # some hold line ends
    assert summary["lines"] == summary["impressions"] + summary["merged"] + summary["rejected"]
    assert lake.read(IMPRESSIONS).count() == summary["impressions"] > 0
    assert lake.read(REJECTS).count() == summary["rejected"] > LINES // 2
