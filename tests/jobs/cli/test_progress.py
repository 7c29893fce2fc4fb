"""Stages report how long they took, and the process records it."""

from __future__ import annotations

from jobs.cli.progress import seconds_of_stages, stage


def test_the_seconds_of_a_stage_are_kept_and_those_of_its_next_run_added() -> None:
    for _ in range(2):
        before = seconds_of_stages.get("a stage of this test", 0.0)
        with stage("a stage of this test"):
            pass
        assert seconds_of_stages["a stage of this test"] > before


def test_a_stage_inside_another_is_part_of_it() -> None:
    with stage("the outer of this test"), stage("the inner of this test"):
        pass
    assert "the outer of this test" in seconds_of_stages
    assert "the inner of this test" not in seconds_of_stages
