"""All facts in a run's folder are read; missing ones are listed with the commands that add them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.page.facts import Places, ages, read_facts
from schemas.errors import InputError
from tests.jobs.page.runs import EVALUATION, INGEST, facts_of, run_folder


def test_everything_is_found_from_the_run_alone(tmp_path: Path) -> None:
    facts = facts_of(run_folder(tmp_path))
    assert facts.parts["ingest"] == INGEST  # from the summary next to the run
    assert facts.evaluation == EVALUATION
    assert (facts.source, facts.policy, facts.about_is_local) == ("paper", "cached", False)
    assert facts.parts["pack"]["batches"] == 12
    assert facts.parts["pack"]["distinct_items_per_epoch"] == sum(
        sum(block.items)
        for _, _, block in facts.manifest.superblocks  # type: ignore[union-attr]
    )
    assert ages(facts) == [0, 90, 30]
    assert facts.lacking == []


def test_a_summary_of_another_run_is_not_used(tmp_path: Path) -> None:
    run = run_folder(tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text())
    summary["training"]["checkpoint"] = str(tmp_path / "run-2" / "checkpoint" / "step-00000024")
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    assert "ingest" not in facts_of(run).parts
    assert facts_of(run, summary=tmp_path / "summary.json").parts["ingest"] == INGEST  # unless it is given


def test_a_plain_training_run_lists_the_commands_that_add_the_rest(tmp_path: Path) -> None:
    run = run_folder(tmp_path, without=("summary.json", "evaluation.json", "examples.json"))
    facts = facts_of(run)
    lacking = {each.what: " then ".join(each.commands) for each in facts.lacking}
    again = f"./feedloop report --run {run}"
    evaluate = f"./feedloop evaluate --checkpoint {run}/checkpoint --data PACKED --lake LAKE then {again}"
    assert lacking == {
        "figures and slices of the model's quality": evaluate,
        "example users": evaluate,
        "random order, padding and reuse, which are computed from all batches": f"{again} --data {tmp_path / 'packed'}",
        "counts of the logs": f"{again} --lake LAKE",
        "counts of the news": f"{again} --lake LAKE",
    }
    training = facts.parts["training"]
    assert (training["targets"], training["encoded"], training["steps"], training["complete"]) == (140, 105, 24, True)
    assert training["clicks_per_second"] == pytest.approx(140.0)


def test_the_batches_are_read_on_request(tmp_path: Path) -> None:
    run = run_folder(tmp_path, without=("summary.json",))
    facts = read_facts(Places(run=run, data=tmp_path / "packed"), read_batches=True)
    assert facts.parts["batches"]["batches"] == 12
    assert 0.5 < facts.parts["batches"]["ratio_to_random"] < 1.5


def test_a_run_without_about_json_is_shown_with_this_machine(tmp_path: Path) -> None:
    facts = facts_of(run_folder(tmp_path, without=("about.json", "summary.json")))
    assert facts.about_is_local
    assert facts.about["versions"]["python"].startswith("3.")
    assert "the packed data" in {each.what for each in facts.lacking}


def test_a_lake_that_cannot_be_read_is_left_out_with_the_reason(tmp_path: Path) -> None:
    facts = facts_of(run_folder(tmp_path, without=("summary.json",)), lake=tmp_path / "no lake")
    reasons = [each.reason for each in facts.lacking if each.reason]
    assert len(reasons) == 2
    assert all("no Delta table" in reason for reason in reasons)


def test_a_folder_that_is_no_run_and_a_file_that_is_no_json_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no config.json, so it is no training run. Name the --out of"):
        facts_of(tmp_path)
    run = run_folder(tmp_path)
    (run / "evaluation.json").write_text("{")
    with pytest.raises(InputError, match=rf"{run}/evaluation.json: no JSON"):
        facts_of(run)
