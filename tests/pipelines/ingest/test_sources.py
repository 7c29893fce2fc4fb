from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.ingest.sources import LogFile, find_logs, format_of, new_files
from schemas.errors import InputError
from tests.builders import json_line, mind_line, write_logs


def names(files: list[LogFile]) -> list[str]:
    return [file.name for file in files]


def test_the_folder_tells_the_format(tmp_path: Path) -> None:
    json_logs = write_logs(tmp_path / "a", {"2.jsonl": [json_line()], "1.jsonl.gz": [json_line()]})
    mind_logs = write_logs(tmp_path / "b", {"behaviors.tsv.gz": [mind_line()]})
    assert names(find_logs(json_logs, "auto")) == ["logs/1.jsonl.gz", "logs/2.jsonl"]
    assert names(find_logs(mind_logs, "auto")) == ["behaviors.tsv.gz"]
    assert [format_of(name) for name in ("logs/1.jsonl.gz", "behaviors.tsv")] == ["jsonl", "mind"]


def test_one_file_can_be_named(tmp_path: Path) -> None:
    folder = write_logs(tmp_path, {"a.jsonl": [json_line()], "b.jsonl": [json_line()]})
    assert names(find_logs(folder / "logs" / "b.jsonl", "auto")) == ["b.jsonl"]


def test_files_still_being_written_and_empty_files_are_left_out(tmp_path: Path) -> None:
    folder = write_logs(
        tmp_path, {"a.jsonl": [json_line()], "_b.jsonl": [json_line()], ".c.jsonl": ["x"], "d.jsonl": []}
    )
    assert names(find_logs(folder, "auto")) == ["logs/a.jsonl"]


def test_a_missing_folder_is_named_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: no such folder.*make_sample"):
        find_logs(tmp_path / "nowhere", "auto")


def test_a_folder_without_logs_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"logs/\*\.jsonl.*behaviors\.tsv"):
        find_logs(tmp_path, "auto")
    with pytest.raises(InputError, match=r"Looked for behaviors\.tsv"):
        find_logs(write_logs(tmp_path, {"a.jsonl": [json_line()]}), "mind")


def test_two_formats_in_one_folder_must_be_told_apart(tmp_path: Path) -> None:
    folder = write_logs(tmp_path, {"a.jsonl": [json_line()], "behaviors.tsv": [mind_line()]})
    with pytest.raises(InputError, match=r"jsonl and mind.*--format"):
        find_logs(folder, "auto")
    assert names(find_logs(folder, "mind")) == ["behaviors.tsv"]


@pytest.mark.parametrize(
    ("name", "lines", "found"),
    [
        ("behaviors.tsv", ["a,b,c,d,e"], "has 1 tab-separated columns instead of 5"),
        ("a.jsonl", [mind_line()], "is not JSON"),
        ("a.jsonl", ['["n1"]'], "is no JSON object"),
        ("a.jsonl.gz", [json_line(without=("shown", "user_id"))], r"lacks \['user_id', 'shown'\]"),
    ],
)
def test_a_file_without_one_usable_line_is_refused(tmp_path: Path, name: str, lines: list[str], found: str) -> None:
    with pytest.raises(InputError, match=f"{name}.*{found}"):
        find_logs(write_logs(tmp_path, {name: lines}), "auto")


def test_a_file_with_one_usable_line_is_read(tmp_path: Path) -> None:
    folder = write_logs(tmp_path, {"a.jsonl": ["rubbish", json_line()]})
    assert [file.first_line for file in find_logs(folder, "auto")] == [b"rubbish"]


def test_a_file_that_is_no_gzip_is_refused(tmp_path: Path) -> None:
    write_logs(tmp_path, {"a.jsonl": [json_line()]})
    (tmp_path / "logs" / "a.jsonl").rename(tmp_path / "logs" / "a.jsonl.gz")
    with pytest.raises(InputError, match=r"a\.jsonl\.gz: cannot be read"):
        find_logs(tmp_path, "auto")


def test_files_with_no_line_at_all_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="hold no line"):
        find_logs(write_logs(tmp_path, {"a.jsonl": [], "b.jsonl.gz": []}), "auto")


def test_a_known_file_is_not_new_and_another_file_of_its_name_is_refused(tmp_path: Path) -> None:
    files = find_logs(write_logs(tmp_path, {"a.jsonl": [json_line("1")], "b.jsonl": [json_line("2")]}), "auto")
    assert names(new_files(files, {"logs/a.jsonl": json_line("1").encode()})) == ["logs/b.jsonl"]
    with pytest.raises(InputError, match=r"a\.jsonl.*began with another line.*--source"):
        new_files(files, {"logs/a.jsonl": b"another"})
