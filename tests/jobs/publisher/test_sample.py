from __future__ import annotations

import json
from collections import Counter, defaultdict
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from jobs.publisher.sample import write_sample
from schemas.raw_log import REJECT_REASONS


def reason_against(line: bytes) -> str | None:
    """A slow reader of its own: why the line holds no impression, None if it does."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        return "not_utf8"
    try:
        fields = json.loads(text)
    except ValueError:
        return "not_json"
    if any(name not in fields for name in ("impression_id", "user_id", "time", "shown")):
        return "missing_field"
    try:
        datetime.strptime(fields["time"], "%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        return "bad_time"
    if not fields["shown"]:
        return "nothing_shown"
    return None if set(fields["clicked"]) <= set(fields["shown"]) else "clicked_not_shown"


def identity(fields: dict[str, Any]) -> tuple[str, str, str]:
    return fields["impression_id"], fields["user_id"], fields["time"]


@pytest.fixture(params=["tiny", "demo"])
def sample(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def test_lines_are_impressions_merged_and_rejected(sample: Any) -> None:
    reasons = [reason_against(line) for line in sample.lines]
    good = [line for line, reason in zip(sample.lines, reasons, strict=True) if reason is None]
    identities = Counter(identity(json.loads(line)) for line in good)
    counts = sample.counts
    assert counts["lines"] == len(sample.lines)
    assert counts["impressions"] == len(identities) == len(sample.truth)
    assert counts["merged"] == len(good) - len(identities)
    assert counts["rejected"] == len(sample.lines) - len(good)
    assert counts["lines"] == counts["impressions"] + counts["merged"] + counts["rejected"]


def test_every_malformed_line_is_malformed_for_the_stated_reason(sample: Any) -> None:
    found = Counter(filter(None, map(reason_against, sample.lines)))
    assert dict(found) == sample.counts["rejected_by_reason"]
    assert set(found) <= set(REJECT_REASONS)
    assert min(found.values()) >= 1


def test_the_truth_is_what_the_good_lines_say(sample: Any) -> None:
    truth = {
        (row["impression_id"], row["user_id"], row["time"].astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")): row
        for row in sample.truth
    }
    told = [json.loads(line) for line in sample.lines if reason_against(line) is None]
    assert {identity(fields) for fields in told} == set(truth)
    for fields in told:
        row = truth[identity(fields)]
        assert fields["shown"] == row["shown"]
        assert fields["clicked"] == [n for n, mark in zip(row["shown"], row["clicked"], strict=True) if mark]


def test_a_redelivered_line_is_the_same_bytes_in_the_same_or_a_later_file(tiny: Any) -> None:
    files = defaultdict(list)
    for name, lines in tiny.files.items():
        for line in lines:
            if reason_against(line) is None:
                files[json.loads(line)["impression_id"]].append((name, line))
    again = [told for told in files.values() if len(told) > 1]
    assert sum(len(told) - 1 for told in again) == tiny.counts["merged"] > 0
    assert all(len({line for _, line in told}) == 1 for told in again)


def test_some_lines_stand_out_of_order_and_none_before_its_day(demo: Any) -> None:
    late = 0
    for name, lines in demo.files.items():
        times = [json.loads(line)["time"] for line in lines if reason_against(line) is None]
        assert all(time[:10] <= name[:10] for time in times)
        late += sum(later < earlier for earlier, later in pairwise(times))
    assert late > 0.04 * demo.counts["impressions"]


def test_a_history_is_every_click_that_its_user_made_before(sample: Any) -> None:
    by_user: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for line in sample.lines:
        if reason_against(line) is None:
            fields = json.loads(line)
            by_user[fields["user_id"]][fields["time"]] = fields
    grown = 0
    for told in by_user.values():
        for earlier, later in pairwise(told[time] for time in sorted(told)):
            assert later["history"] == earlier["history"] + earlier["clicked"]
            grown += bool(earlier["clicked"])
        for fields in told.values():
            assert not set(fields["history"]) & set(fields["shown"])  # what was clicked is not shown again
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


def test_ids_do_not_tell_the_order(demo: Any) -> None:
    for ids in ([news["news_id"] for news in demo.news], [row["impression_id"] for row in demo.truth]):
        assert len(set(ids)) == len(ids)
        rising = sum(later > earlier for earlier, later in pairwise(ids)) / len(ids)
        assert rising == pytest.approx(0.5, abs=0.05)


def test_the_label_says_that_it_is_synthetic_and_how_it_was_drawn(tiny: Any) -> None:
    label = (tiny.folder / "README.txt").read_text(encoding="utf-8")
    assert label.startswith("SYNTHETIC DATA")
    assert "seed 7" in label
    assert f"{tiny.counts['lines']} lines" in label


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tiny: Any, tmp_path: Path) -> None:
    for name, seed in (("again", 7), ("other", 8)):
        (tmp_path / name).mkdir()
        write_sample(tmp_path / name, "tiny", seed)
    paths = sorted(path.relative_to(tiny.folder) for path in tiny.folder.rglob("*") if path.is_file())
    assert len(paths) == 10
    assert all((tmp_path / "again" / path).read_bytes() == (tiny.folder / path).read_bytes() for path in paths)
    assert all((tmp_path / "other" / path).read_bytes() != (tiny.folder / path).read_bytes() for path in paths)
