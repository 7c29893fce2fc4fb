from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from jobs.synthetic.sample import write_sample
from jobs.synthetic.sizes import SIZES, Size
from schemas.raw_log import REJECT_REASONS
from tests.jobs.synthetic.conftest import read_sample, written
from tests.jobs.synthetic.reference import impressions_of, parsed_line, reason_against


@pytest.fixture(params=["tiny", "demo"])
def sample(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def good(lines: list[bytes]) -> list[bytes]:
    return [line for line in lines if reason_against(line) is None]


def by_view(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["user_id"], row["time"]


def without_probability(truth: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(({name: row[name] for name in row if name != "probability"} for row in truth), key=by_view)


def test_the_truth_is_what_comparing_each_line_with_each_other_one_finds(sample: Any) -> None:
    assert sorted(impressions_of(sample.lines), key=by_view) == without_probability(sample.truth)


@pytest.mark.parametrize("seed", range(20, 26))
def test_the_truth_is_right_for_other_seeds_too(seed: int, tmp_path: Path) -> None:
    sample = written(tmp_path, "tiny", seed)
    assert sorted(impressions_of(sample.lines), key=by_view) == without_probability(sample.truth)


def test_the_truth_is_right_where_few_users_view_small_pages_at_once(tmp_path: Path) -> None:
    size = Size(users=12, news=12, topics=4, impressions=1_500)  # at most 4 news a page: many show the same
    write_sample(tmp_path, size, 5, name="crowded")
    sample = read_sample(tmp_path)
    assert len({tuple(sorted(row["shown"])) for row in sample.truth}) < len(sample.truth)
    assert sorted(impressions_of(sample.lines), key=by_view) == without_probability(sample.truth)


def test_lines_are_impressions_merged_and_rejected(sample: Any) -> None:
    counts, usable = sample.counts, good(sample.lines)
    assert counts["lines"] == len(sample.lines)
    assert counts["impressions"] == len(sample.truth)
    assert counts["merged"] == len(usable) - len(sample.truth)
    assert counts["rejected"] == len(sample.lines) - len(usable)
    assert counts["lines"] == counts["impressions"] + counts["merged"] + counts["rejected"]


def test_every_malformed_line_is_malformed_for_the_stated_reason(sample: Any) -> None:
    found = Counter(filter(None, map(reason_against, sample.lines)))
    assert dict(found) == sample.counts["rejected_by_reason"]
    assert set(found) == set(REJECT_REASONS) - {"wrong_column_count"}  # JSON lines have no columns


def test_a_line_that_stands_twice_is_the_same_bytes_in_the_same_or_a_later_file(tiny: Any) -> None:
    again = Counter(good(tiny.lines))
    assert sum(again.values()) - len(again) >= tiny.counts["faults"]["redelivered"]["count"] > 0


def test_some_lines_stand_out_of_order_and_none_before_its_day(demo: Any) -> None:
    late = 0
    for name, lines in demo.files.items():
        times = [parsed_line(line).time for line in good(lines)]
        assert all(f"{time:%Y-%m-%d}" <= name[:10] for time in times)
        late += sum(later < earlier for earlier, later in pairwise(times))
    assert late > 0.04 * demo.counts["impressions"]


def test_clicks_that_come_late_are_missing_in_a_line_that_came_before(demo: Any) -> None:
    complete = {(row["impression_id"], *by_view(row)): sum(row["clicked"]) for row in demo.truth}
    first: dict[tuple[Any, ...], int | None] = {}
    for line in good(demo.lines):
        parsed = parsed_line(line)
        first.setdefault(
            (parsed.impression_id, parsed.user_id, parsed.time), None if parsed.clicked is None else len(parsed.clicked)
        )
    logged_late = [
        clicks for key, clicks in first.items() if key in complete and (clicks is None or clicks < complete[key])
    ]
    assert len(logged_late) > 0.02 * len(complete)
    assert None in logged_late
    assert 0 in logged_late


def test_ids_of_a_second_collector_are_smaller_or_larger_than_the_publishers(demo: Any) -> None:
    twice = [row for row in demo.truth if row["also_seen_as"]]
    assert len(twice) == demo.counts["faults"]["second_collector"]["count"] == round(0.03 * len(demo.truth))
    assert {row["impression_id"][0] for row in twice} == {"b", "i"}
    assert {row["also_seen_as"][0][0] for row in twice} == {"i", "k"}


def test_ids_are_used_again_by_the_same_user_days_later_and_by_others(demo: Any) -> None:
    by_id = defaultdict(list)
    for row in demo.truth:
        for name in (row["impression_id"], *row["also_seen_as"]):
            by_id[name].append(row)
    same, others = 0, 0
    for rows in by_id.values():
        for a, b in pairwise(sorted(rows, key=by_view)):
            same += a["user_id"] == b["user_id"]
            others += a["user_id"] != b["user_id"]
            assert a["user_id"] != b["user_id"] or (b["time"] - a["last_time"]).total_seconds() > 86_400
    assert same == demo.counts["faults"]["reused_ids"]["count"] > 100
    assert others > 0.9 * demo.counts["faults"]["ids_of_other_users"]["count"] > 100


def test_some_impressions_are_logged_at_times_that_only_a_third_one_joins(demo: Any) -> None:
    spread = [(row["last_time"] - row["time"]).total_seconds() / 3600 for row in demo.truth]
    assert sum(hours > 24 for hours in spread) == demo.counts["faults"]["bridged_times"]["count"] > 10
    moved = sum(hours > 0 for hours in spread)
    assert moved >= demo.counts["faults"]["moved_times"]["count"] > 0.02 * len(spread)


def test_lines_end_in_three_ways_and_times_stand_in_several_zones(demo: Any) -> None:
    lines, text = good(demo.lines), (demo.folder / "logs/2026-03-02.jsonl").read_bytes()
    both, returns, feeds = (text.count(end) for end in (b"\r\n", b"\r", b"\n"))
    assert 0 < both < 0.02 * feeds
    assert 0 < returns - both < 0.02 * feeds
    for mark in (b"+01:00", b"-05:00", b"+05:30", b".000Z", b'"device"', b'"clicked": null'):
        assert any(mark in line for line in lines), mark
    assert any(b"clicked" not in line for line in lines)


def test_a_history_is_every_click_that_its_user_made_before(sample: Any) -> None:
    by_user = defaultdict(list)
    for row in sorted(sample.truth, key=by_view):
        by_user[row["user_id"]].append(row)
    grown = 0
    for rows in by_user.values():
        for earlier, later in pairwise(rows):
            clicked = [n for n, mark in zip(earlier["shown"], earlier["clicked"], strict=True) if mark]
            assert later["history"] == earlier["history"] + clicked
            grown += bool(clicked)
        for row in rows:
            assert not set(row["history"]) & set(row["shown"])  # what was clicked is not shown again
    assert grown > 0


def test_nothing_is_shown_before_it_is_published_nor_twice(sample: Any) -> None:
    published = {news["news_id"]: news["published_at"] for news in sample.news}
    for row in sample.truth:
        seen = row["time"].strftime("%Y-%m-%dT%H:%M:%SZ")
        assert all(published[news_id] <= seen for news_id in row["shown"])
        assert len(set(row["shown"])) == len(row["shown"])


def test_an_impression_shows_37_news_on_average_and_as_a_rule_is_clicked(demo: Any) -> None:
    shown = [len(row["shown"]) for row in demo.truth]
    clicks = [sum(row["clicked"]) for row in demo.truth]
    assert sum(shown) / len(shown) == pytest.approx(37, abs=1)
    assert min(shown) == 2
    assert max(shown) == 120
    assert 1 < sum(clicks) / len(clicks) < 2
    assert sum(map(bool, clicks)) / len(clicks) > 0.65


def test_the_log_covers_six_days_and_two_files_are_gzipped(sample: Any) -> None:
    assert [name[:10] for name in sample.files] == [f"2026-03-0{day}" for day in range(2, 8)]
    assert sum(name.endswith(".gz") for name in sample.files) == 2
    assert sample.counts["last_day"] == "2026-03-07"
    assert {row["time"].strftime("%Y-%m-%d") for row in sample.truth} == {name[:10] for name in sample.files}


def test_ids_do_not_report_the_order(demo: Any) -> None:
    for ids in ([news["news_id"] for news in demo.news], [row["impression_id"] for row in demo.truth]):
        rising = sum(later > earlier for earlier, later in pairwise(ids)) / len(ids)
        assert rising == pytest.approx(0.5, abs=0.05)


def test_the_label_says_that_it_is_synthetic_and_how_it_was_drawn(tiny: Any) -> None:
    label = (tiny.folder / "README.txt").read_text(encoding="utf-8")
    assert label.startswith("SYNTHETIC DATA")
    assert "seed 7" in label
    assert f"{tiny.counts['lines']} lines" in label
    assert all(name in label for name in tiny.counts["faults"])


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tiny: Any, tmp_path: Path) -> None:
    for name, seed in (("again", 7), ("other", 8)):
        written(tmp_path / name, "tiny", seed)
    paths = sorted(path.relative_to(tiny.folder) for path in tiny.folder.rglob("*") if path.is_file())
    assert len(paths) == 10
    assert all((tmp_path / "again" / path).read_bytes() == (tiny.folder / path).read_bytes() for path in paths)
    assert all((tmp_path / "other" / path).read_bytes() != (tiny.folder / path).read_bytes() for path in paths)


def test_logs_alone_are_the_same_bytes(tiny: Any, tmp_path: Path) -> None:
    write_sample(tmp_path, SIZES["tiny"], 7, name="tiny", logs_only=True)
    for path in (tiny.folder / "logs").iterdir():
        assert (tmp_path / "logs" / path.name).read_bytes() == path.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.txt", "logs", "truth"]
    assert [path.name for path in (tmp_path / "truth").iterdir()] == ["counts.json"]
