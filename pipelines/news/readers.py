"""Reads a publisher's news file into one row per line, parsed by the same rules on every engine, with its place."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from pipelines.compressed import SUFFIXES, UNREADABLE, is_compressed, opened, plain_name, with_compressed
from pipelines.news.normalise import normalise
from schemas.errors import InputError
from schemas.storage.paths import path_of, text_of

COLUMNS = ("news_id", "category", "subcategory", "title", "abstract", "body")
MIND_COLUMNS = 8  # id, category, subcategory, title, abstract, url, title entities, abstract entities
Values = Sequence[str | None]  # of COLUMNS
_NOTHING: Values = (None,) * len(COLUMNS)
_NUMBERS_AS_WRITTEN = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)
_JSON_SPACE = " \t\r\n"

_KINDS = (".jsonl", ".tsv")
_PLAIN = tuple(f"news{kind}" for kind in _KINDS)
_LONGEST_LINE = 64 << 20  # of a compressed file, whose size does not bound the memory of a line
_PIECE_BYTES = 32 << 20  # read by one task
_BATCH_BYTES = 4 << 20  # of text parsed at once
_SCHEMA = ", ".join(["place long", *(f"{name} string" for name in COLUMNS)])


def news_file(news: Path) -> Path:
    """The file to read: `news`, or the news file in that folder. InputError if there is none."""
    if news.is_dir():
        found = [news / name for name in with_compressed(*_PLAIN) if (news / name).is_file()]
        if len(found) == 1:
            return _check_readable(found[0])
        what = f"holds {[path.name for path in found]}" if found else "holds none"
        wanted = " or ".join(_PLAIN)
        raise InputError(f"{news}: expected {wanted} there, compressed or not; it {what}. Name the file with --news")
    if not news.is_file():
        raise InputError(f"{news}: no such file or folder. Name a folder with {' or '.join(_PLAIN)} with --news")
    if not plain_name(news.name).endswith(_KINDS):
        ends = ", ".join(SUFFIXES)
        raise InputError(f"{news}: not a news file that can be read. Give .jsonl or .tsv, plain or {ends}, with --news")
    return _check_readable(news)


def _check_readable(file: Path) -> Path:
    """The file, if it can be read to its end: an engine would report a truncated one with a stack trace."""
    length = 0  # of the current line
    try:
        with opened(file) as stream:
            while is_compressed(file.name) and (piece := stream.read(1 << 20)):
                length = len(piece) - piece.rfind(b"\n") - 1 if b"\n" in piece else length + len(piece)
                if length > _LONGEST_LINE:
                    raise InputError(f"{file}: has a line of over {_LONGEST_LINE >> 20} MiB. Check that it is news")
    except UNREADABLE as error:
        raise InputError(f"{file}: cannot be read ({error}). Fetch it again") from error
    return file


def read_news(spark: SparkSession, file: Path, *, piece_bytes: int = _PIECE_BYTES) -> DataFrame:
    """(place, COLUMNS) of each line that is not blank: text normalised, news_id null if the line cannot be parsed.

    `place` ascends through the file. Every task reads its own piece; a compressed file is one piece.
    """
    where, packed = text_of(file), is_compressed(file.name)  # a path object knows its storage only in this process
    parse = partial(from_tsv, columns=_columns_of(file)) if plain_name(file.name).endswith(".tsv") else from_json
    pieces = 1 if packed else max(1, -(-file.stat().st_size // piece_bytes))

    def read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for piece in (number for batch in batches for number in batch["id"].to_pylist()):
            with opened(path_of(where)) as stream:
                lines = lines_of(
                    cast(BinaryIO, stream), piece * piece_bytes, None if packed else (piece + 1) * piece_bytes
                )
                for part in _parts(lines):
                    yield _columns([(place, *parse(line)) for place, line in part])

    return spark.range(0, pieces, 1, pieces).mapInArrow(read, _SCHEMA)


def lines_of(stream: BinaryIO, begin: int, end: int | None) -> Iterator[tuple[int, str]]:
    """(place, line) of the lines that are not blank and begin from byte `begin` on, before `end` if it is given.

    A line belongs to the piece where the text up to its line feed begins, so that no piece splits a \\r\\n.
    """
    place = begin
    if begin:
        stream.seek(begin - 1)
        place += len(stream.readline()) - 1
    while (end is None or place < end) and (line := stream.readline()):
        for number, text in enumerate(texts_of_line(line)):
            if text.strip(" "):
                yield place + number, text
        place += len(line)


def _columns_of(file: Path) -> int:
    """The number of columns of a .tsv, by its first line: ours, else MIND's."""
    with opened(file) as stream:
        first = next((line for line in stream if line.strip()), b"")
    return len(COLUMNS) if first.count(b"\t") + 1 == len(COLUMNS) else MIND_COLUMNS


def _parts(lines: Iterable[tuple[int, str]]) -> Iterator[list[tuple[int, str]]]:
    part: list[tuple[int, str]] = []
    left = _BATCH_BYTES
    for place, line in lines:
        part.append((place, line))
        left -= len(line) + 100  # overhead of a line
        if left <= 0:
            yield part
            part, left = [], _BATCH_BYTES
    if part:
        yield part


def _columns(rows: list[tuple[Any, ...]]) -> pa.RecordBatch:
    place, news_id, *texts = zip(*rows, strict=True)
    arrays = [pa.array(place, pa.int64()), _strings(news_id), *(normalise(_strings(column)) for column in texts)]
    return pa.RecordBatch.from_arrays(arrays, ["place", *COLUMNS])


def _strings(values: Sequence[str | None]) -> pa.Array:
    try:
        return pa.array(values, pa.string())
    except UnicodeEncodeError:  # JSON can encode half a surrogate pair, which is no character
        valid = [None if text is None else text.encode("utf-8", "replace").decode() for text in values]
        return pa.array(valid, pa.string())


def texts_of_line(line: bytes) -> list[str]:
    """The lines in the bytes up to a line feed, which carriage returns may split. Invalid UTF-8 becomes U+FFFD."""
    return [part.decode("utf-8", "replace").removeprefix("\ufeff") for part in line.splitlines()]


def from_json(line: str) -> Values:
    """The columns of a JSON object: strings unchanged, other values as JSON text. Text after the object is ignored."""
    try:
        found, _ = _NUMBERS_AS_WRITTEN.raw_decode(line.lstrip(_JSON_SPACE))
    except (ValueError, RecursionError):
        return _NOTHING
    if isinstance(found, list) and found:
        found = found[0]
    if not isinstance(found, dict):
        return _NOTHING
    return [_text(found.get(name), line, name) for name in COLUMNS]


def from_tsv(line: str, columns: int) -> Values:
    """The columns of a line with this number of tab-separated cells, unquoted: COLUMNS, or MIND's without body."""
    cells = line.split("\t")
    if len(cells) != columns:
        return _NOTHING
    return cells if columns == len(COLUMNS) else (*cells[: len(COLUMNS) - 1], "")


def _text(value: object, line: str, name: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    found = json.JSONDecoder().raw_decode(line.lstrip(_JSON_SPACE))[0]  # again, now with numbers as numbers
    inner = (found[0] if isinstance(found, list) else found)[name]
    return json.dumps(inner, ensure_ascii=False, separators=(",", ":"))
