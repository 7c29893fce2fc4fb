from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.ingest.mapping import LogMapping
from pipelines.ingest.sources import (
    Found,
    Known,
    LogFile,
    find_logs,
    find_new,
    find_usable,
    in_batches,
    log_paths,
    new_files,
)
from schemas.errors import InputError
from tests.builders import Line, json_line, mind_line, write_logs


def names(found: Found) -> list[str]:
    return [file.name for file in found.files]


def known(file: LogFile) -> Known:
    return Known(
        bytes=file.bytes,
        lines=file.lines,
        first_line_sha256=file.first_line_sha256,
        whole_lines=file.whole_lines,
    )


def again(folder: Path, before: Found) -> Found:
    """What a second run finds, told what the first one read."""
    return find_new(log_paths(folder, "auto", None), folder, None, {file.name: known(file) for file in before.files})


def test_the_folder_tells_the_format(tmp_path: Path) -> None:
    json_logs = write_logs(tmp_path / "a", {"2.jsonl": [json_line()], "1.jsonl.gz": [json_line()]})
    mind_logs = write_logs(tmp_path / "b", {"behaviors.tsv.gz": [mind_line()]})
    assert names(find_logs(json_logs)) == ["logs/1.jsonl.gz", "logs/2.jsonl"]
    assert names(find_logs(mind_logs)) == ["behaviors.tsv.gz"]
    assert [file.lines_format for file in find_logs(mind_logs).files] == ["mind"]


def test_labelled_and_unlabelled_mind_files_are_read_together(tmp_path: Path) -> None:
    files = {"behaviors.tsv": [mind_line()], "behaviors_unlabelled.tsv.gz": [mind_line(shown="N1 N2")]}
    assert names(find_logs(write_logs(tmp_path, files))) == ["behaviors.tsv", "behaviors_unlabelled.tsv.gz"]


def test_one_file_can_be_named(tmp_path: Path) -> None:
    folder = write_logs(tmp_path, {"a.jsonl": [json_line()], "b.jsonl": [json_line()]})
    assert names(find_logs(folder / "logs" / "b.jsonl")) == ["b.jsonl"]


def test_files_still_being_written_and_empty_files_are_left_out(tmp_path: Path) -> None:
    lines: dict[str, list[Line]] = {
        "a.jsonl": [json_line()],
        "_b.jsonl": [json_line()],
        ".c.jsonl": ["x"],
        "d.jsonl": [],
    }
    found = find_logs(write_logs(tmp_path, lines))
    assert (names(found), found.unreadable) == (["logs/a.jsonl"], {})


def test_a_missing_folder_is_named_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: no such folder.*make_sample"):
        find_logs(tmp_path / "nowhere")


def test_a_folder_without_logs_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"logs/\*\.jsonl.*behaviors\*\.tsv.*behaviors\.parquet.*--mapping"):
        find_logs(tmp_path)
    with pytest.raises(InputError, match=r"Looked for behaviors\*\.tsv"):
        find_logs(write_logs(tmp_path, {"a.jsonl": [json_line()]}), "mind")


def test_two_formats_in_one_folder_must_be_told_apart(tmp_path: Path) -> None:
    folder = write_logs(tmp_path, {"a.jsonl": [json_line()], "behaviors.tsv": [mind_line()]})
    with pytest.raises(InputError, match=r"jsonl and mind.*--format"):
        find_logs(folder)
    assert names(find_logs(folder, "mind")) == ["behaviors.tsv"]


def test_a_bad_file_is_named_and_the_others_are_found(tmp_path: Path) -> None:
    folder = write_logs(tmp_path, {"good.jsonl": [json_line()], "rubbish.jsonl": ["a", "b"], "cut.jsonl.gz": []})
    logs = folder / "logs"
    (logs / "cut.jsonl.gz").write_bytes(gzip.compress(json_line().encode() * 1000)[:-9])
    (logs / "folder.jsonl").mkdir()
    (logs / "gone.jsonl").symlink_to(tmp_path / "nowhere")
    (logs / "plain.jsonl.gz").write_bytes(json_line().encode())
    found = find_logs(folder)
    assert names(found) == ["logs/good.jsonl"]
    reasons = {name.removeprefix("logs/"): reason for name, reason in found.unreadable.items()}
    assert sorted(reasons) == ["cut.jsonl.gz", "folder.jsonl", "gone.jsonl", "plain.jsonl.gz", "rubbish.jsonl"]
    assert "end-of-stream" in reasons["cut.jsonl.gz"]
    assert "Is a directory" in reasons["folder.jsonl"]
    assert "No such file" in reasons["gone.jsonl"]
    assert "Not a gzipped file" in reasons["plain.jsonl.gz"]
    assert "not one line is an impression" in reasons["rubbish.jsonl"]


def test_a_folder_with_nothing_to_be_used_is_one_error(tmp_path: Path) -> None:
    folder = write_logs(tmp_path, {"a.jsonl": ["x"], "b.jsonl": ["y"]})
    with pytest.raises(InputError, match=r"logs/a\.jsonl: not one line.*logs/b\.jsonl: not one line"):
        find_logs(folder)
    assert sorted(find_new(log_paths(folder, "auto", None), folder, None, {}).unreadable) == [
        "logs/a.jsonl",
        "logs/b.jsonl",
    ]


def test_a_folder_that_was_read_before_may_have_nothing_new(tmp_path: Path) -> None:
    folder = write_logs(tmp_path, {"a.jsonl": [json_line()]})
    before = {file.name: known(file) for file in find_logs(folder).files}
    assert find_usable(log_paths(folder, "auto", None), folder, None, before) == Found(files=[])


def test_files_with_no_line_at_all_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="hold no line"):
        find_logs(write_logs(tmp_path, {"a.jsonl": [], "b.jsonl.gz": []}))


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_a_grown_file_is_read_from_where_it_ended(tmp_path: Path, name: str) -> None:
    first = find_logs(write_logs(tmp_path, {name: [json_line("1"), json_line("2")]}))
    assert again(tmp_path, first) == Found(files=[])
    write_logs(tmp_path, {name: [json_line("1"), json_line("2"), json_line("3")]})
    (file,) = again(tmp_path, first).files
    assert (file.skip, file.lines) == (2, 3)


def test_the_same_lines_in_more_bytes_are_nothing_new(tmp_path: Path) -> None:
    first = find_logs(write_logs(tmp_path, {"a.jsonl": [json_line("1"), json_line("2")]}))
    path = tmp_path / "logs" / "a.jsonl"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert again(tmp_path, first) == Found(files=[])


def test_a_last_line_that_was_half_written_is_read_again(tmp_path: Path) -> None:
    path = write_logs(tmp_path, {"a.jsonl": []}) / "logs" / "a.jsonl"
    path.write_text(json_line("1") + "\n" + json_line("2")[:30])
    first = find_logs(tmp_path)
    assert not first.files[0].whole_lines
    path.write_text(json_line("1") + "\n" + json_line("2") + "\n")
    (file,) = again(tmp_path, first).files
    assert (file.skip, file.lines, file.whole_lines) == (1, 2, True)


def test_an_only_line_that_was_half_written_may_go_on(tmp_path: Path) -> None:
    path = write_logs(tmp_path, {"a.jsonl": []}) / "logs" / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json_line("1").encode())
    first = find_logs(tmp_path)
    path.write_bytes(b"\xef\xbb\xbf" + json_line("1").encode() + b" \n" + json_line("2").encode())
    (file,) = again(tmp_path, first).files
    assert (file.skip, file.lines, file.whole_lines) == (0, 2, False)


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([json_line("9"), json_line("2"), json_line("3")], id="another first line"),
        pytest.param([json_line("9"), json_line("2")], id="another first line, the same size"),
        pytest.param([json_line("1")], id="smaller"),
    ],
)
def test_a_known_name_over_other_content_is_refused_and_the_others_are_read(tmp_path: Path, lines: list[Line]) -> None:
    first = find_logs(write_logs(tmp_path, {"a.jsonl": [json_line("1"), json_line("2")]}))
    found = again(write_logs(tmp_path, {"a.jsonl": lines, "b.jsonl": [json_line("4")]}), first)
    assert names(found) == ["logs/b.jsonl"]
    assert "began with another line" in found.unreadable["logs/a.jsonl"]
    assert "--source" in found.unreadable["logs/a.jsonl"]


def test_batches_hold_so_much_text_of_one_kind_and_one_file_at_least(tmp_path: Path) -> None:
    sizes = {"a.jsonl": 10, "b.jsonl": 30, "c.jsonl": 60, "d.jsonl.gz": 5, "e.jsonl": 70}
    (one,) = find_logs(write_logs(tmp_path, {"a.jsonl": [json_line()]})).files
    files = [replace(one, name=name, path=Path(name), bytes=size) for name, size in sizes.items()]
    other = replace(files[0], name="f.jsonl", lines_format=LogMapping(clicked_as="marks").as_format)
    batches = [[file.name for file in batch] for batch in in_batches([*files, other], 50)]
    assert batches == [["a.jsonl", "b.jsonl"], ["c.jsonl"], ["d.jsonl.gz"], ["e.jsonl"], ["f.jsonl"]]


def test_a_mapping_says_which_files_are_logs(tmp_path: Path) -> None:
    folder = write_logs(tmp_path, {"x/1.json": [json_line()], "2.jsonl": [json_line()]})
    found = find_logs(folder, mapping=LogMapping(files="logs/*/*.json"))
    assert names(found) == ["logs/x/1.json"]


def test_new_files_keep_what_was_unreadable() -> None:
    assert new_files(Found(files=[], unreadable={"a": "why"}), {}).unreadable == {"a": "why"}
