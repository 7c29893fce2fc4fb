from __future__ import annotations

from pathlib import Path

from pyspark.sql import SparkSession

from pipelines.ingest.readers import raw_lines
from pipelines.ingest.sources import find_logs
from pipelines.session import whole_files
from tests.builders import Line, json_line, rows, write_logs


def read(spark: SparkSession, folder: Path) -> list[tuple[object, ...]]:
    with whole_files(spark):
        return [(file, at, bytes(line)) for file, at, line in rows(raw_lines(spark, find_logs(folder, "auto")))]


def test_each_line_keeps_its_bytes_file_and_number(spark: SparkSession, tmp_path: Path) -> None:
    odd: list[Line] = [json_line(), b"", b"\xff\xfe no UTF-8", b"carriage\rreturn\r", "\u2028 is no line end"]
    found = read(spark, write_logs(tmp_path, {"a b+c%20[1]{2}*?.jsonl": odd, "z.jsonl.gz": odd}))
    told = [line if isinstance(line, bytes) else line.encode() for line in odd]
    assert found == [
        (name, at, line) for name in ("logs/a b+c%20[1]{2}*?.jsonl", "logs/z.jsonl.gz") for at, line in enumerate(told)
    ]


def test_numbers_are_exact_in_many_and_in_large_files(spark: SparkSession, tmp_path: Path) -> None:
    files = {
        f"{name}.jsonl": [json_line(f"{name}-{at}") for at in range(3000 if name == 3 else 5)] for name in range(7)
    }
    write_logs(tmp_path, files)
    with whole_files(spark):
        lines = raw_lines(spark, find_logs(tmp_path, "auto"))
        told = lines.selectExpr(
            "concat('logs/', get_json_object(string(line), '$.impression_id')) AS told", "file", "position"
        )
        wrong = told.where("told != concat(replace(file, '.jsonl', ''), '-', position)")
        assert (told.count(), wrong.count()) == (3030, 0)


def test_a_last_line_without_line_feed_is_a_line_and_a_byte_order_mark_is_none_of_it(
    spark: SparkSession, tmp_path: Path
) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a.jsonl").write_bytes(
        b"\xef\xbb\xbf" + json_line("1").encode() + b"\n" + json_line("2").encode()
    )
    assert [line for _, _, line in read(spark, tmp_path)] == [json_line("1").encode(), json_line("2").encode()]
