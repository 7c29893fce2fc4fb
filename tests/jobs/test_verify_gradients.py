"""verify_gradients as a user runs it: a table, one JSON object last, a failed proof reported."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from jobs import verify_gradients
from jobs.cli.command_line import run
from tests.packed import tiny_plm
from trainer.exact.proofs import Proof

WANTED = {
    "once_vs_naive",
    "chunked_vs_whole",
    "accumulated1_vs_once",
    "cached0_vs_once",
    "two_ranks_vs_one",
    "carried_vs_once",
}


def test_every_rule_is_reported_with_its_control(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(verify_gradients.verify_gradients, ["--plm", tiny_plm(tmp_path), "--model", "nrms"]) == 0
    printed = capsys.readouterr().out
    found = json.loads(printed.splitlines()[-1])
    assert found.keys() >= WANTED
    assert max(found.values()) < 1e-9
    assert "only the first" in printed


def test_an_inexact_rule_fails_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = Proof("a claim", difference=1e-3, control=1.0, switched_off="nothing")
    good = dataclasses.replace(bad, difference=1e-15)
    idle = dataclasses.replace(good, control=1e-15)
    for proof, code in ((bad, 2), (idle, 2), (good, 0)):
        monkeypatch.setattr(verify_gradients, "prove", lambda *_, proof=proof, **__: {"once_vs_naive": proof})
        assert run(verify_gradients.verify_gradients, ["--plm", tiny_plm(tmp_path)]) == code
    assert "once_vs_naive" in capsys.readouterr().err


def test_a_scene_too_small_to_prove_anything_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(verify_gradients.verify_gradients, ["--items", "2"]) == 2
    assert "use 4 items or more" in capsys.readouterr().err
