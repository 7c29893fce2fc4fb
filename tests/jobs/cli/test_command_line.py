"""The command line of a job: options, presets, and the messages for wrong ones."""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from jobs.cli.command_line import run
from schemas.errors import ContractError, InputError
from tests.conftest import REPOSITORY
from tests.disks import small_disk

JOBS = sorted(path.stem for path in (REPOSITORY / "jobs").glob("*.py") if "\nif __name__" in path.read_text())


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannerConfig:
    """What is encoded."""

    policy: Literal["naive", "once", "cached"] = "cached"  # who is encoded when
    max_age_steps: int = 10  # 0 = always encode

    def __post_init__(self) -> None:
        if self.max_age_steps < 0:
            raise ValueError(f"planner.max_age_steps is {self.max_age_steps}: use 0 or a number of steps")


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimiserConfig:
    """How weights move."""

    learning_rate: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    milestones: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """A run."""

    seed: int = 1
    limit: int | None = None
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)


DEFAULT = TrainConfig()
seen: list[TrainConfig] = []


def fit(*, data: Path, config: TrainConfig = DEFAULT, quick: bool = False) -> dict[str, Any]:
    """Fit a model.

    Parameters
    ----------
    data
        The packed directory.
    """
    if data.name == "missing":
        raise InputError(f"{data}: no such folder. Name one that pack wrote")
    if data.name == "broken":
        raise ContractError(f"{data}: a column is missing")
    if data.name == "bug":
        raise ValueError("not the user's fault")
    seen.append(config)
    return {"data": data, "quick": quick, "steps": np.int64(3), "loss": np.float32(0.5)}


def fitted(*argv: str) -> TrainConfig:
    assert run(fit, ["--data", "d", *argv]) == 0
    return seen.pop()


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one message on stderr."""
    assert run(fit, argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("feedloop fit: ")
    assert "Traceback" not in err
    assert err.count("\n") == 1
    return err


def preset(folder: Path, text: str) -> str:
    path = folder / "preset.toml"
    path.write_text(text)
    return str(path)


def test_the_summary_is_one_json_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(fit, ["--data", "d", "--quick"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == {"data": "d", "quick": True, "steps": 3, "loss": 0.5}
    assert out.count("\n") == 1
    assert err == ""


def test_without_options_the_defaults_stand() -> None:
    assert fitted() == TrainConfig()


def test_dotted_options_reach_nested_configs() -> None:
    config = fitted("--planner.max-age-steps", "5", "--optimiser.learning-rate", "1e-3", "--limit", "7")
    assert config == TrainConfig(
        limit=7, planner=PlannerConfig(max_age_steps=5), optimiser=OptimiserConfig(learning_rate=1e-3)
    )


def test_a_preset_fills_what_the_command_line_leaves_open(tmp_path: Path) -> None:
    file = preset(
        tmp_path, 'seed = 3\n[planner]\npolicy = "once"\nmax_age_steps = 4\n[optimiser]\nmilestones = [5, 9]\n'
    )
    config = fitted("--config", file, "--planner.policy", "naive")
    assert config == TrainConfig(
        seed=3,
        planner=PlannerConfig(policy="naive", max_age_steps=4),
        optimiser=OptimiserConfig(milestones=(5, 9)),
    )


def test_an_empty_table_in_a_preset_changes_nothing(tmp_path: Path) -> None:
    assert fitted("--config", preset(tmp_path, "[planner]\n")) == TrainConfig()


@pytest.mark.parametrize(
    ("argv", "advice"),
    [
        (["--data", "d", "--planer.policy", "once"], "Did you mean --planner.policy?"),
        (["--data", "d", "--policy", "once"], "Did you mean --planner.policy?"),
        (["--data", "d", "--planner.policy", "cachd"], 'Did you mean "cached"?'),
        (["--data", "d", "--planner.max-age-steps", "-3"], "use 0 or a number of steps"),
        (["--data", "d", "--planner.max-age-steps", "3.5"], "--planner.max-age-steps is '3.5': give an integer"),
        (["--data", "d", "--limit", "many"], "--limit is 'many': give an integer"),
        (["--data", "d", "--optimiser.learning-rate", "fast"], "--optimiser.learning-rate"),
        (["--data", "d", "--optimiser.betas", "1"], "--optimiser.betas requires 2"),
        (["--data", "d", "stray"], "nothing takes 'stray'"),
        ([], "--data requires an argument"),
        (["--dta", "d"], "Did you mean --data instead of --dta?"),
        (["--quik", "--limit", "3"], "--data requires an argument. There is no option --quik."),
        (["--data", "d", "--config", "no/such.toml"], "no/such.toml: there is no such file"),
        (["--data", "missing"], "missing: no such folder. Name one that pack wrote"),
        (["--data", "broken"], "a column is missing"),
    ],
)
def test_a_wrong_option_is_one_message_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], argv: list[str], advice: str
) -> None:
    assert advice in refused(capsys, *argv)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ('[planner]\npolcy = "once"\n', "unknown key planner.polcy. The nearest is planner.policy"),
        ("[planer]\n", "unknown key planer. The nearest is planner.policy"),
        ("planner = 3\n", "unknown key planner. The nearest is planner."),
        ('config = "other.toml"\n', "unknown key config"),
        ("[planner]\nmax_age_steps = 3.5\n", "[planner][max_age_steps] is '3.5': give an integer"),
        ("[planner]\nmax_age_steps = -1\n", "planner.max_age_steps is -1: use 0"),
        ("[optimiser]\nmilestones = [1, 2.5]\n", "[optimiser][milestones] is '2.5': give an integer"),
        ("[optimiser]\nbetas = [0.9]\n", "--optimiser.betas: Incorrect number of arguments"),
        ("[planner\n", "no TOML"),
    ],
)
def test_a_wrong_preset_is_one_message_that_names_the_key(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, advice: str
) -> None:
    assert advice in refused(capsys, "--data", "d", "--config", preset(tmp_path, text))


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ValueError, match="not the user's fault"):
        run(fit, ["--data", "bug"])


def test_help_shows_each_field_with_the_comment_next_to_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(fit, ["--help"]) == 0
    out = capsys.readouterr().out
    for expected in (
        "Fit a model.",
        "The packed directory.",
        "--planner.max-age-steps",
        "0 = always encode",
        "--config",
    ):
        assert expected in out


def test_a_default_that_help_would_hide_is_our_own_mistake() -> None:
    def odd(*, config: TrainConfig = TrainConfig(seed=5)) -> None:
        """Nothing."""

    odd.__globals__["TrainConfig"] = TrainConfig
    with pytest.raises(AssertionError, match=r"the default of config must be TrainConfig\(\)"):
        run(odd, [])


@pytest.mark.parametrize("name", JOBS)
def test_every_job_reports_its_options_and_refuses_others(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    job = getattr(importlib.import_module(f"jobs.{name}"), name)
    assert run(job, ["--help"]) == 0
    assert f"feedloop {name}" in capsys.readouterr().out
    assert run(job, ["--no-such-option", "1"]) == 2
    assert "option --no-such-option" in capsys.readouterr().err.replace("option: ", "option ")


def test_a_full_disk_is_one_message_by_the_path_of_the_job_that_is_full(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fill(*, roomy: Path, out: Path) -> None:
        """Write more than fits."""
        (out / "text").write_text("x" * 200_000)

    with small_disk(tmp_path / "disk", "64k") as disk:
        assert run(fill, ["--roomy", str(tmp_path), "--out", str(disk)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"feedloop fill: {disk}: no space left there: 0 are free. Make room")
    assert said.count("\n") == 1


def test_a_number_that_is_none_is_null_in_the_summary(capsys: pytest.CaptureFixture[str]) -> None:
    def scored() -> dict[str, Any]:
        return {"auc": float("nan"), "by": [np.float32("inf"), 1.5]}

    assert run(scored, []) == 0
    assert json.loads(capsys.readouterr().out) == {"auc": None, "by": [None, 1.5]}
