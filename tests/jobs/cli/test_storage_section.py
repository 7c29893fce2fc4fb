"""[storage] of a preset: the variables that it sets, what overrules it, what it rejects."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jobs.cli.command_line import run
from jobs.cli.storage_section import SETTINGS
from jobs.make_sample import make_sample
from schemas.storage import files
from schemas.storage.place import Place
from tests.conftest import REPOSITORY
from tests.jobs.test_places import OPTIONS

VARIABLES = [name for setting in SETTINGS.values() for name in (setting.variable, *setting.also)]


def look(*, size: int = 1) -> dict[str, Any]:
    """The environment that the job sees."""
    return {"size": size} | {name: os.environ[name] for name in VARIABLES if name in os.environ}


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # so that it is restored afterwards
        monkeypatch.delenv(name)


def seen(text: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    (folder / "preset.toml").write_text(text)
    code = run(look, ["--config", str(folder / "preset.toml")])
    printed = capsys.readouterr()
    return json.loads(printed.out) if code == 0 else {"refused": printed.err}


@pytest.mark.usefixtures("bare")
def test_each_name_sets_the_variable_that_libraries_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = """size = 2
    [storage]
    endpoint = "http://127.0.0.1:9000"
    region = "eu-central-1"
    allow_http = true
    path_style = true
    unsigned = false
    google_service_account = "account.json"
    azure_account = "ours"
    azure_endpoint = "https://ours.example"
    """
    assert seen(text, tmp_path, capsys) == {
        "size": 2,
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9000",
        "AWS_REGION": "eu-central-1",
        "AWS_ALLOW_HTTP": "true",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "false",
        "AWS_SKIP_SIGNATURE": "false",
        "GOOGLE_SERVICE_ACCOUNT": "account.json",
        "AZURE_STORAGE_ACCOUNT_NAME": "ours",
        "AZURE_STORAGE_ENDPOINT": "https://ours.example",
    }


@pytest.mark.parametrize("variable", ["AWS_REGION", "AWS_DEFAULT_REGION"])
@pytest.mark.usefixtures("bare")
def test_the_environment_overrules_the_file_by_any_of_its_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "here")
    assert seen('storage.region = "there"', tmp_path, capsys) == {"size": 1, variable: "here"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[storage]\nsecret_access_key = "x"', "storage.secret_access_key reads like a secret"),
        ('[storage]\naccess_key_id = "x"', "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        ('[storage]\nazure_sas = "x"', "reads like a secret"),
        ('[storage]\nprofile = "x"', "storage.profile names a part of ~/.aws"),
        ('[storage]\nregoin = "x"', "unknown key storage.regoin. Known are endpoint, region"),
        ('[storage]\nallow_http = "yes"', "storage.allow_http is 'yes': give true or false"),
        ("[storage]\nregion = 3", "storage.region is 3: give a text"),
        ("storage = 3", "storage must be a table"),
        ('[storage]\nendpoint = "https://me:pass@host"', "a name and a secret before its host"),
    ],
)
@pytest.mark.usefixtures("bare")
def test_what_is_refused_is_refused_by_name_and_sets_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, says: str
) -> None:
    reported = seen(text, tmp_path, capsys)["refused"]
    assert says in reported
    assert "pass@" not in reported
    assert not [name for name in VARIABLES if name in os.environ]


def test_no_option_of_a_job_has_the_sections_name() -> None:
    assert "storage" not in {option.name.partition(".")[0] for option in OPTIONS}


def test_all_libraries_find_a_bucket_by_the_section_alone(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logs are read by obstore, tables by delta-rs, scratch is the engine's: in a process of its own, without names of
    the store in its environment.
    """
    make_sample(size="tiny", out=tmp_path / "sample")
    for path in (tmp_path / "sample").rglob("*.jsonl"):
        files.write(Place.of(f"{bucket}/{path.relative_to(tmp_path)}"), path)
    preset = tmp_path / "preset.toml"
    endpoint, region = (json.dumps(os.environ[name]) for name in ("AWS_ENDPOINT_URL", "AWS_REGION"))
    preset.write_text(f"[storage]\nendpoint = {endpoint}\nallow_http = true\nregion = {region}\n")
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    options = ["--logs", f"{bucket}/sample", "--lake", f"{bucket}/lake", "--config", str(preset)]
    done = subprocess.run(
        [sys.executable, "-m", "jobs.ingest", *options, "--engine", "embedded"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(REPOSITORY), **os.environ},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["impressions"] > 0
