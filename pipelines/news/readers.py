"""Readers: a publisher's news file -> one row per usable line, with its place in the file."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines.session import named_files
from schemas.errors import InputError

COLUMNS = ("news_id", "category", "subcategory", "title", "abstract", "body")
_FILES = ("news.jsonl", "news.jsonl.gz", "news.tsv", "news.tsv.gz")
_MIND_COLUMNS = 8  # id, category, subcategory, title, abstract, url, title entities, abstract entities


def news_file(news: Path) -> Path:
    """The file to read: the one named, or the one that a folder holds. InputError if there is none."""
    if news.is_dir():
        found = [news / name for name in _FILES if (news / name).is_file()]
        if len(found) == 1:
            return _whole(found[0])
        what = f"holds {[path.name for path in found]}" if found else "holds none"
        raise InputError(f"{news}: expected one of {', '.join(_FILES)} there; it {what}. Name the file with --news")
    if not news.is_file():
        raise InputError(f"{news}: no such file or folder. Name a folder with {' or '.join(_FILES)} with --news")
    if not news.name.endswith((".jsonl", ".jsonl.gz", ".tsv", ".tsv.gz")):
        raise InputError(f"{news}: not a news file that can be read. Give .jsonl or .tsv, plain or .gz, with --news")
    return _whole(news)


def _whole(file: Path) -> Path:
    """The file, if it can be read to its end: Spark would tell of a gzip that was cut short with a stack trace."""
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            while file.suffix == ".gz" and stream.read(1 << 20):
                pass
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{file}: cannot be read ({error}). Fetch it again") from error
    return file


def read_lines(spark: SparkSession, file: Path) -> DataFrame:
    """(value, place) of each line that is not blank; `place` ascends through the file."""
    # Files are cut into parts, and parts are read in any order: the part's first byte, then the line within the part.
    place = F.struct(F.col("_metadata.file_block_start").alias("part"), F.monotonically_increasing_id().alias("line"))
    value = F.regexp_replace(F.make_valid_utf8("value"), "^\ufeff", "").alias(
        "value"
    )  # some files begin with a byte order mark
    ((reader, names),) = named_files(spark, [file])
    text = reader.text(names).select(value, place.alias("place"))
    return text.where(F.trim("value") != "")


def with_columns(lines: DataFrame, file: Path) -> DataFrame:
    """Adds COLUMNS. Lines that cannot be read have no news_id."""
    return _from_tsv(lines, _columns_of(file)) if ".tsv" in file.name else _from_json(lines)


def _from_json(lines: DataFrame) -> DataFrame:
    schema = ", ".join(f"{name} string" for name in COLUMNS)
    parsed = lines.withColumn("news", F.from_json("value", schema))
    return parsed.select("place", *(F.col(f"news.{name}").alias(name) for name in COLUMNS))


def _columns_of(file: Path) -> int:
    """How many columns the first line of a .tsv has: ours, else MIND's."""
    with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
        first = next((line for line in stream if line.strip()), b"")
    return len(COLUMNS) if first.count(b"\t") + 1 == len(COLUMNS) else _MIND_COLUMNS


def _from_tsv(lines: DataFrame, columns: int) -> DataFrame:
    """MIND's columns, which hold no body, or COLUMNS as they are; quoting off."""
    cells = F.split("value", "\t", -1)
    whole = lines.withColumn("cells", F.when(F.size(cells) == columns, cells))
    named = {name: F.col("cells")[index] for index, name in enumerate(COLUMNS)}
    if columns == _MIND_COLUMNS:
        named["body"] = F.lit("")
    return whole.select("place", *(cell.alias(name) for name, cell in named.items()))
