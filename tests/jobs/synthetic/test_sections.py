from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from jobs.synthetic import sizes
from jobs.synthetic.sample import write_sample
from jobs.synthetic.sizes import SIZES, Size
from tests.jobs.synthetic.conftest import Sample, read_sample
from tests.jobs.synthetic.reference import impressions_of, parsed_line, reason_against

SIZE = Size(users=160, news=300, topics=30, impressions=1_000, files_a_day=24)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """A sample in four sections and hourly files."""
    folder = tmp_path_factory.mktemp("large")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sizes, "SECTION", 250)
        write_sample(folder, SIZE, 3, name="in sections")
    return read_sample(folder)


def test_sections_share_no_user_and_no_id_and_add_up(large: Sample) -> None:
    assert {row["user_id"] for row in large.truth} == {f"u{i:05d}" for i in range(160)}
    counts = large.counts
    assert counts["impressions"] == len(large.truth)
    assert counts["lines"] == len(large.lines) == counts["impressions"] + counts["merged"] + counts["rejected"]
    assert counts["rejected_by_reason"]["too_long"] == 1


def test_the_truth_of_all_sections_is_what_comparing_lines_finds(large: Sample) -> None:
    def view(row: dict[str, Any]) -> tuple[Any, ...]:
        return row["user_id"], row["time"]

    truth = [{name: row[name] for name in row if name != "probability"} for row in large.truth]
    assert sorted(impressions_of(large.lines), key=view) == sorted(truth, key=view)


def test_each_hour_has_a_file_and_what_comes_after_the_last_day_has_one_more(large: Sample) -> None:
    names = sorted(large.files)
    assert len(names) == 6 * 24 + 1 == large.counts["files"]
    assert (names[0], names[30], names[-1]) == ("2026-03-02T00.jsonl", "2026-03-03T06.jsonl", "2026-03-08T00.jsonl")
    for name in names:
        parsed = [parsed_line(line).time for line in large.files[name] if reason_against(line) is None]
        assert all(f"{time:%Y-%m-%dT%H}" <= name[:13] for time in parsed)


def test_large_logs_have_no_line_that_a_lone_carriage_return_ends(large: Sample) -> None:
    """Few readers support it, and large logs serve to compare speeds."""
    text = b"".join(path.read_bytes() for path in (large.folder / "logs").iterdir())
    assert text.count(b"\r") == text.count(b"\r\n") > 0


def test_files_of_several_sections_are_in_order_of_arrival(large: Sample) -> None:
    """Lines that belong to an hour and arrived at once are within some seconds of their order."""
    name = max(large.files, key=lambda name: len(large.files[name]) * (name < "2026-03-08"))
    parsed = [parsed_line(line) for line in large.files[name] if reason_against(line) is None]
    times = [t.time for t in parsed if f"{t.time:%Y-%m-%dT%H}" == name[:13]]
    users = {t.user_id for t in parsed}
    assert len({int(user[1:]) // 40 for user in users}) == 4  # every section
    assert sum(a <= b for a, b in pairwise(times)) > 0.7 * len(times)


def test_a_small_log_is_one_section_and_a_large_one_is_cut_evenly() -> None:
    assert list(SIZES["demo"].sections()) == [SIZES["demo"]]
    parts = list(SIZES["million"].sections())
    assert [part.impressions for part in parts] == [250_000] * 4
    assert sum(part.users for part in parts) == 100_000
