from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from jobs.cli.command_line import run
from jobs.evaluate import evaluate
from jobs.train import train
from tests.damage import HANG, ODD_FILES, changed, damaged_texts, in_place_of, refusal, wrong_values
from tests.trainer.checkpoint.test_files import sealed
from trainer.checkpoint.files import STATE_FILE, Checkpoint, load_checkpoint, save_checkpoint
from trainer.checkpoint.retention import Best, Checkpoints, resolve_checkpoint
from trainer.config import TrainConfig
from trainer.setup.prepare import config_of

pytestmark = pytest.mark.timeout(HANG)
ADVICE = "Use another one, or train again"
LOG = {"totals": {}, "since": {}, "losses": [0.5], "norms": {"head": [1.0]}, "counts": 2.0, "last_loss": None}
STATE = {
    "ranks": 1,
    "config": TrainConfig().to_dict(),
    "position": {"epoch": 0, "epoch_step": 3, "step": 3},
    "data": {"manifest_sha256": "a" * 64, "tokenizer_sha256": "b" * 64, "inputs": {"item_tokens": 4}},
    "frozen_sha256": "c" * 64,
    "shortened": [[5, 2]],
    "optimiser": {"taken": 3, "waiting_count": 0.0, "groups": {"head": [{"lr": 0.1}]}},
    "keeping": {"log": {**LOG, "drift": None}, "best": {"step": 3, "auc": 0.6}, "epochs_since_best": 0},
}


@pytest.fixture
def state(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint" / "step-00000003"
    save_checkpoint(Checkpoint(tensors={"model": {"a": torch.arange(3.0)}}, state=STATE), path)
    return path / STATE_FILE


def refused(state: Path, text: bytes) -> str:
    state.write_bytes(text)
    return refusal(lambda: load_checkpoint(state.parent), str(state.parent), ADVICE)


@pytest.mark.parametrize("name", damaged_texts(json.dumps(STATE).encode()))
def test_a_text_that_is_no_state_is_refused(state: Path, name: str) -> None:
    assert STATE_FILE in refused(state, damaged_texts(state.read_bytes())[name])


def test_names_left_out_and_values_of_other_kinds_are_refused(state: Path) -> None:
    for text in wrong_values(state.read_bytes()).values():
        state.write_bytes(text)
        refusal(lambda: load_checkpoint(state.parent), str(state.parent), ADVICE)


@pytest.mark.parametrize("name", STATE)
def test_values_of_other_kinds_are_refused_though_their_sum_is_right(state: Path, name: str) -> None:
    for value in (True, "text", 1.5, -1, 10**12):
        sealed(state.parent, **{name: value})
        refusal(lambda: load_checkpoint(state.parent), str(state.parent), ADVICE)


def _in(*path: str) -> Callable[[object], Callable[[Any], None]]:
    def to(value: object) -> Callable[[Any], None]:
        def change(raw: Any) -> None:
            for step in path[:-1]:
                raw = raw[step]
            raw[path[-1]] = value

        return change

    return to


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("ranks",), 10**12, r"at \$\.ranks: Expected `int` <= 65536, found 10{12}"),
        (("ranks",), 0, r"at \$\.ranks"),
        (("position", "step"), -1, r"at \$\.position\.step"),
        (("position", "step"), 1e3, r"got `float`"),
        (("shortened",), [[1]], r"at \$\.shortened\[0\]"),
        (("data", "manifest_sha256"), "../x", r"at \$\.data\.manifest_sha256"),
        (("data", "inputs"), {"item_tokens": -1}, r"at \$\.data\.inputs"),
        (("keeping", "best", "auc"), 7.0, r"at \$\.keeping\.best\.auc"),
        (("keeping", "log", "losses"), ["x"], r"at \$\.keeping\.log\.losses\[0\]"),
        (("keeping", "epochs_since_best"), True, "got `bool`"),
        (("optimiser", "groups"), [], r"at \$\.optimiser\.groups"),
        (("parts",), ["model", "model"], "a part is listed twice"),
        (("sha256",), {"model": "0"}, r"at \$\.sha256"),
    ],
)
def test_numbers_that_cannot_be_are_refused_by_place(
    state: Path, path: tuple[str, ...], value: object, said: str
) -> None:
    message = refused(state, changed(state.read_bytes(), _in(*path)(value)))
    assert re.search(said, message), message


WILD = [
    ("run", "epochs", 10**12),
    ("run", "seed", 2**63),
    ("run", "seed", -1),
    ("run", "batches_per_step", 10**12),
    ("run", "plan_ahead", 10**12),
    ("run", "kept_chunks", -1),
    ("run", "precision", "float8"),
    ("encoder", "row_tokens", 10**12),
    ("encoder", "vector_width", 10**9),
    ("encoder", "pooling_width", 10**9),
    ("user", "attention_width", 10**9),
    ("user", "heads", 10**9),
    ("planner", "chunk_sizes", [10**12]),
    ("planner", "chunk_sizes", [1] * 10**5),
    ("planner", "chunk_sizes", []),
    ("planner", "max_age_steps", 10**12),
    ("optimiser", "clip_norm", -1.0),
    ("optimiser", "learning_rate", "fast"),
]


@pytest.mark.parametrize(("part", "name", "value"), WILD, ids=range(len(WILD)))
def test_an_option_that_would_hang_or_ask_for_terabytes_is_refused(
    state: Path, part: str, name: str, value: object
) -> None:
    config = TrainConfig().to_dict()
    config[part][name] = value
    sealed(state.parent, config=config)
    message = refusal(lambda: config_of(load_checkpoint(state.parent)), str(state.parent), "Train again")
    assert f"{part}.{name}" in message


@pytest.mark.parametrize("name", ["nan", "inf", "-1"])
@pytest.mark.parametrize("option", ["optimiser.learning-rate", "optimiser.clip-norm", "planner.drift-limit"])
def test_rates_and_limits_on_the_command_line_are_finite(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, name: str
) -> None:
    assert run(train, ["--data", str(tmp_path), "--out", str(tmp_path), f"--{option}={name}"]) == 2
    assert "feedloop train: " in capsys.readouterr().err


@pytest.mark.parametrize("part", [part for part, *_ in WILD[::5]])
def test_a_config_has_all_its_parts_and_no_others(state: Path, part: str) -> None:
    config = TrainConfig().to_dict()
    for other in ({**config, "colour": {}}, {name: value for name, value in config.items() if name != part}):
        sealed(state.parent, config=other)
        refusal(lambda: config_of(load_checkpoint(state.parent)), str(state.parent), "Train again")


@pytest.mark.parametrize("kind", ODD_FILES)
def test_only_a_regular_file_is_opened(state: Path, kind: str) -> None:
    with in_place_of(state, ODD_FILES[kind]):
        refusal(lambda: load_checkpoint(state.parent), str(state.parent), "(Use another|Name a folder)")


def test_a_job_ends_with_2_and_one_line(state: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    sealed(state.parent, ranks=10**12)
    assert run(evaluate, ["--checkpoint", str(state.parent), "--data", str(tmp_path)]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith(
        f"feedloop evaluate: {state.parent}: the checkpoint is damaged, state.json, at $.ranks"
    )
    assert output.err.count("\n") == 1


@pytest.fixture
def best(state: Path) -> Path:
    folder = state.parents[1]
    Checkpoints(folder, keep=2).mark_best(Best(step=3, auc=0.5))
    assert resolve_checkpoint(folder) == state.parent
    return folder / "best.json"


REMOVE = "Remove it: the newest checkpoint then counts as the best"


@pytest.mark.parametrize("name", damaged_texts(b'{"step": 3, "auc": 0.5}'))
def test_a_text_that_names_no_best_checkpoint_is_refused(best: Path, name: str) -> None:
    best.write_bytes(damaged_texts(best.read_bytes())[name])
    refusal(lambda: resolve_checkpoint(best.parent), str(best), REMOVE)


def test_a_best_checkpoint_has_a_step_and_an_auc(best: Path) -> None:
    texts = wrong_values(best.read_bytes())
    texts |= {"step is 1.0": b'{"step": 1.0, "auc": 0.5}', "auc is 2": b'{"step": 3, "auc": 2}'}
    texts |= {"step is -1": b'{"step": -1, "auc": 0.5}', "more": b'{"step": 3, "auc": 0.5, "loss": 1}'}
    for text in texts.values():
        best.write_bytes(text)
        refusal(lambda: resolve_checkpoint(best.parent), str(best), REMOVE)


@pytest.mark.parametrize("kind", ODD_FILES)
def test_only_a_regular_file_names_the_best(best: Path, kind: str) -> None:
    with in_place_of(best, ODD_FILES[kind]):
        refusal(lambda: resolve_checkpoint(best.parent), str(best), REMOVE)
