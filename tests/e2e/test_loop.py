"""From raw logs to an evaluated recommender: the demo on the publisher's `tiny` size and on a MIND folder."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY


def demo(folder: Path, *options: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "jobs.demo", *map(str, options)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("loop")


@pytest.fixture(scope="module")
def done(folder: Path) -> subprocess.CompletedProcess[str]:
    return demo(folder, "--size", "tiny", "--seed", 3)


def facts(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "runs" / "demo" / "summary.json").read_text()))


def test_the_demo_runs_from_raw_logs_to_one_screen(folder: Path, done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stderr
    labels = ("lines in =", "of them tokenised now: ", "Encodes", "naive_per_target", "cached", "nDCG@10", "Outputs")
    for words in (*labels, "popularity", "category match", "oracle", "AUC less zero-shot's"):
        assert words in done.stdout
    assert "Traceback" not in done.stderr
    found = facts(folder)
    page = Path(found["training"]["checkpoint"]).parents[1] / "report.html"
    assert done.stdout.rstrip().endswith(str(page))
    text = (folder / page).read_text()
    assert f"{found['ingest']['lines']:,} lines in = " in text
    assert f'<span class="value">{found["quality"]["methods"]["model"]["auc"]:.3f}</span>' in text
    assert not any("one class" in alarm for alarm in found["quality"]["alarms"])  # as in most logs
    assert any("of one class" in sentence for sentence in found["quality"]["left_out"])
    assert {"engine starts", "ingest", "packing", "training", "speed of each policy, in turns"} <= set(found["stages"])


def test_what_the_screen_counts_is_the_publishers_truth(folder: Path, done: subprocess.CompletedProcess[str]) -> None:
    found = facts(folder)
    truth = json.loads((folder / "runs" / "demo" / "sample-tiny-3" / "truth" / "counts.json").read_text())
    ingested = found["ingest"]
    for name in ("lines", "impressions", "merged", "rejected"):
        assert ingested[name] == truth[name]
    assert ingested["lines"] == ingested["impressions"] + ingested["merged"] + ingested["rejected"]
    assert found["quality"]["methods"]["oracle"]["auc"] == pytest.approx(truth["oracle_auc_last_day"], abs=1e-6)


def test_a_speed_up_is_reported_with_its_rounds_or_not_at_all(
    folder: Path, done: subprocess.CompletedProcess[str]
) -> None:
    cached = facts(folder)["speed"]["cached"]
    assert cached["rounds"] == 5
    assert cached["processor_seconds"] > 0
    assert "processor seconds per click" in done.stdout
    shown = "cannot tell" if cached["speed_up"] is None else f"{cached['speed_up']:.1f}"
    (row,) = (line for line in done.stdout.splitlines() if line.startswith("│ cached "))
    assert shown in row


def test_encode_once_saves_at_every_stage(folder: Path, done: subprocess.CompletedProcess[str]) -> None:
    found = facts(folder)
    packed, training = found["pack"], found["training"]
    encoded = training["encoded"] / training["epochs"]
    assert packed["items_per_target_sample"] > packed["item_occurrences"] > packed["distinct_items_per_epoch"] > encoded
    assert training["targets"] == packed["targets"] * training["epochs"]


def test_the_screen_recommends_news_to_a_user(folder: Path, done: subprocess.CompletedProcess[str]) -> None:
    reader = facts(folder)["reader"]
    read = {news["id"] for news in reader["history"]}
    assert len(reader["recommended"]) == 5
    assert not read & {news["id"] for news in reader["recommended"]}
    screen = " ".join(done.stdout.split())
    assert f"for user {reader['user_id']}, who read last: " in screen
    assert all(news["id"] in screen for news in reader["recommended"])


def test_running_again_adds_nothing_and_trains_anew(folder: Path, done: subprocess.CompletedProcess[str]) -> None:
    first = facts(folder)
    again = demo(folder, "--size", "tiny", "--seed", 3)
    assert again.returncode == 0, again.stderr
    assert "no new files" in again.stdout
    assert "0 of them tokenised now" in again.stdout
    second = facts(folder)
    assert second["pack"] == first["pack"]
    assert second["training"]["checkpoint"] != first["training"]["checkpoint"]
    assert second["training"]["loss"] == first["training"]["loss"]  # same data, same seed, same run
    assert second["quality"]["methods"] == first["quality"]["methods"]


def test_a_mind_folder_goes_the_same_way(folder: Path) -> None:
    data = mind_folder(folder / "mind")
    done = demo(folder, "--data", data)
    assert done.returncode == 0, done.stderr
    found = json.loads((folder / "runs" / "mind" / "summary.json").read_text())
    assert found["ingest"]["lines"] == found["ingest"]["impressions"] == 60
    assert found["quality"]["impressions"] == 20
    assert "oracle" not in found["quality"]["methods"]


def mind_folder(folder: Path) -> Path:
    """News of two kinds, users who click one of them: MIND's own columns, plain and gzipped."""
    folder.mkdir()
    kinds = {"sports": "goal in the football match number", "finance": "bank raises the interest rate for loan number"}
    news = [
        "\t".join([f"N{10 * k + n}", kind, "", f"{title} {n}", "", "", "[]", "[]"])
        for k, (kind, title) in enumerate(kinds.items())
        for n in range(10)
    ]
    (folder / "news.tsv").write_text("\n".join(news) + "\n")
    views = []
    for number in range(60):
        user, day, likes = number % 20, 9 + number // 20, 10 * (number % 2)
        shown = [f"N{likes + number % 10}-1", f"N{10 - likes + number % 10}-0", f"N{10 - likes + (number + 3) % 10}-0"]
        history = f"N{likes + (number + 5) % 10} N{likes + (number + 7) % 10}"
        views.append(f"{number}\tU{user}\t11/{day}/2019 {1 + number % 12}:00:00 PM\t{history}\t{' '.join(shown)}")
    with gzip.open(folder / "behaviors.tsv.gz", "wt") as stream:
        stream.write("\n".join(views) + "\n")
    return folder


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data", "nowhere"], "nowhere"),
        (["--size", "huge"], "huge"),
        (["--sized", "tiny"], "--size"),
    ],
    ids=["folder", "value", "option"],
)
def test_bad_input_is_one_message_and_exit_code_2(tmp_path: Path, options: list[str], message: str) -> None:
    done = demo(tmp_path, *options)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert not list(tmp_path.rglob("_delta_log"))
