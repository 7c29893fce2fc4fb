from __future__ import annotations

import json
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.build_trajectories import build_trajectories
from jobs.cli.command_line import run
from pipelines.lake.tables import Lake
from schemas.impression import HISTORIES, IMPRESSIONS
from schemas.news import ITEM_TOKENS
from schemas.trajectory import EVALUATION
from tests.pipelines.trajectories.views import AFTER_SPLIT, Items, View, impressions, item_tokens


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "no table impressions there. Make it with ./feedloop ingest"),
        (["--candidates", "1"], "candidates is 1: use 2 or more"),
        (["--window", "101"], "window is 101: use 1 to 100 clicks"),
        (["--targets", "some"], "targets"),
        (["--evaluate-sample", "0"], "evaluate_sample is 0.0: use more than 0 and at most 1"),
        (["--max-windows-per-user", "0"], "max_windows_per_user is 0: use 1 or more, or leave it out"),
        (["--bot-views-per-day", "2.5"], "give a whole number"),
        (["--targets", "all", "--history-weight", "0"], "history_weight is 0.0: use more than 0"),
    ],
)
def test_what_cannot_be_used_is_one_message_and_exit_code_2(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert run(build_trajectories, ["--lake", str(tmp_path / "lake"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "lake").exists()


def test_a_period_comes_from_the_command_line_or_a_preset_and_is_noted(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake = Lake(spark, str(tmp_path / "lake"))
    views = [View(f"i{n}", "u", 24 * n, "n1", "n2* n3") for n in range(4)]
    seen, histories = impressions(spark, views)
    for table, frame in ((IMPRESSIONS, seen), (HISTORIES, histories), (ITEM_TOKENS, item_tokens(spark, Items()))):
        lake.overwrite(table, frame)
    preset = tmp_path / "day.toml"
    preset.write_text('source = "p"\nfrom = "2026-03-02"\nto = "2026-03-04"\n')
    options = ["--lake", lake.root, "--config", str(preset)]
    assert run(build_trajectories, options) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["evaluate_from"], told["targets"], told["evaluation_impressions"]) == ("2026-03-04", 2, 2)
    assert run(build_trajectories, [*options, "--from", "2026-03-03", "--evaluate-from", "2026-03-05"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["clicks"], told["targets"], told["evaluation_impressions"]) == (3, 1, 1)
    noted = json.loads(lake.notes(EVALUATION)["made_from.p"])["config"]
    assert (noted["from_"], noted["to"]) == ("2026-03-03", "2026-03-04")
    assert run(build_trajectories, [*options, "--to", "2026-03-02T08:00"]) == 2
    message = "no impression from 2026-03-02 on and before 2026-03-02T08:00 has both a click"
    assert message in capsys.readouterr().err


def test_versions_are_told_and_written_and_old_ones_can_be_read_again(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake = Lake(spark, str(tmp_path))
    views = [
        View("a", "u", 0, "n1", "n2* n3"),
        View("b", "v", 0, "", "n6* n7"),
        View("c", "u", AFTER_SPLIT, "n1", "n4* n5"),
    ]
    seen, histories = impressions(spark, views)
    for table, frame in ((IMPRESSIONS, seen), (HISTORIES, histories), (ITEM_TOKENS, item_tokens(spark, Items()))):
        lake.overwrite(table, frame)
    options = ["--lake", str(tmp_path), "--source", "p", "--targets", "all"]
    assert run(build_trajectories, options) == 0
    first = json.loads(capsys.readouterr().out)
    assert (first["targets"], first["history_targets"]) == (3, 1)
    assert first["inputs"] == lake.versions([IMPRESSIONS, HISTORIES, ITEM_TOKENS])
    (report,) = (tmp_path / "_versions" / "build_trajectories").glob("*.json")
    assert json.loads(report.read_text())["outputs"] == first["outputs"]

    lake.overwrite(IMPRESSIONS, seen.where("impression_id != 'b'"))
    assert run(build_trajectories, [*options, "--as-of", str(report)]) == 0
    again = json.loads(capsys.readouterr().out)
    assert {**again, "outputs": None} == {**first, "outputs": None}
    assert run(build_trajectories, [*options, "--as-of", "2001-01-01"]) == 2
    assert "impressions" in capsys.readouterr().err
