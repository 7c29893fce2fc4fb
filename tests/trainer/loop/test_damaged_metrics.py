from __future__ import annotations

from pathlib import Path

import pytest

from tests.damage import HANG, ODD_FILES, damaged_texts, in_place_of, refusal
from trainer.loop.metrics_log import RunLog

pytestmark = pytest.mark.timeout(HANG)
LINE = b'{"step": 10, "steps": 20, "epoch": 0, "loss": 1.5}'
ADVICE = "Remove that line, or the file"


@pytest.fixture
def metrics(tmp_path: Path) -> Path:
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(LINE + b"\n")
    return file


def resume(metrics: Path) -> None:
    """Load the log as a run does that was saved at step 10."""
    log = RunLog(metrics, every=10, total_steps=20)
    state = log.state_dict()
    log.load_state_dict(state | {"totals": state["totals"] | {"steps": 10}})


def test_lines_up_to_the_step_stay_and_what_a_kill_cut_short_goes(metrics: Path) -> None:
    metrics.write_bytes(LINE + b"\n" + LINE.replace(b"10", b"20", 1) + b'\n{"step": 1')
    resume(metrics)
    assert metrics.read_bytes() == LINE + b"\n"


@pytest.mark.parametrize("name", damaged_texts(LINE))
def test_a_damaged_line_is_named_and_nothing_is_lost(metrics: Path, name: str) -> None:
    damaged = LINE + b"\n" + damaged_texts(LINE)[name].replace(b"\n", b" ") + b"\n" + LINE + b"\n"
    metrics.write_bytes(damaged)
    assert "line 2" in refusal(lambda: resume(metrics), str(metrics), ADVICE)
    assert metrics.read_bytes() == damaged


@pytest.mark.parametrize("step", ["-1", "1.5", "null", "true", '"10"', "1000000000000000000"])
def test_a_step_is_a_count(metrics: Path, step: str) -> None:
    metrics.write_text(f'{{"step": {step}}}\n')
    refusal(lambda: resume(metrics), f"{metrics}, line 1, at $.step", ADVICE)


@pytest.mark.parametrize("kind", ODD_FILES)
def test_only_a_regular_file_is_resumed_from(metrics: Path, kind: str) -> None:
    with in_place_of(metrics, ODD_FILES[kind]):
        refusal(lambda: resume(metrics), str(metrics), ADVICE)
