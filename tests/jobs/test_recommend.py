"""recommend as a user runs it, on an export and a lake's logs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jobs.cli.command_line import run
from jobs.export_embeddings import export_embeddings
from jobs.recommend import recommend
from schemas.storage.place import Place
from tests.exported import SOURCE, checkpoint_at, config_of, write_logs, write_news
from tests.packed import packed_directory, tiny_plm


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export `out` with news ids, one `bare` without, and the lake."""
    folder = tmp_path_factory.mktemp("recommend")
    packed_directory(folder / "packed", items=30, config={"source": SOURCE})
    write_news(folder / "lake", 30)
    write_logs(folder / "lake", [("u1", 1, "n5 n6", "n6"), ("u2", 0, "n5 x9", "x9")], {"u1": "n1"})
    checkpoint = checkpoint_at(folder / "run" / "checkpoint" / "step-00000007", config_of(tiny_plm(folder / "plm")))
    trained, lake = Place.of(checkpoint), Place.of(folder / "lake")
    export_embeddings(checkpoint=trained, data=folder / "packed", out=Place.of(folder / "out"), lake=lake)
    export_embeddings(checkpoint=trained, data=folder / "packed", out=Place.of(folder / "bare"))
    return folder


def recommended(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[str, dict[str, Any]]:
    assert run(recommend, [*map(str, words)]) == 0
    *screen, last = capsys.readouterr().out.splitlines()
    return "\n".join(screen), json.loads(last)


def test_a_user_of_the_logs_is_shown_what_was_not_clicked(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    screen, found = recommended(capsys, "--export", made / "out", "--lake", made / "lake", "--user", "u1", "--top", 3)
    assert "For user u1, by run/step-00000007" in screen
    best = found["news"][0]
    assert (best["rank"], best["title"], best["category"]) == (1, f"Title [{best['item_row']}]", "sport")
    assert f"Title [{best['item_row']}]" in screen
    assert (found["clicks"], len(found["news"])) == (2, 3)
    everything = recommended(capsys, "--export", made / "out", "--lake", made / "lake", "--user", "u1", "--top", 99)[1]
    assert {"n1", "n6"} == {f"n{row}" for row in range(1, 31)} - {news["news_id"] for news in everything["news"]}


def test_clicked_news_make_the_same_user(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    by_user = recommended(capsys, "--export", made / "out", "--lake", made / "lake", "--user", "u1")[1]
    by_clicks = recommended(capsys, "--export", made / "out", "--clicked", "n1", "--clicked", "n6")[1]
    assert by_user["news"] == by_clicks["news"]
    rows = recommended(capsys, "--export", made / "bare", "--clicked", 1, "--clicked", 6)[1]
    assert [news["item_row"] for news in rows["news"]] == [news["item_row"] for news in by_clicks["news"]]


def test_what_was_clicked_comes_back_where_that_is_asked(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = recommended(capsys, "--export", made / "out", "--clicked", "n1", "--top", 30, "--no-exclude-seen")[1]
    assert "n1" in {news["news_id"] for news in found["news"]}


def test_the_pool_of_a_day_alone_is_ranked_where_that_is_asked(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--export", made / "out", "--lake", made / "lake", "--clicked", "n2")
    for option in (("--shown-on", "2026-01-01"), ("--newer-than", "2025-12-31T23:00")):
        found = recommended(capsys, *words, *option)[1]
        assert found["among"] == 2
        assert {news["news_id"] for news in found["news"]} == {"n5", "n6"}
    assert recommended(capsys, *words)[1]["among"] == 30


def test_news_that_the_export_does_not_know_are_counted(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = recommended(capsys, "--export", made / "out", "--lake", made / "lake", "--user", "u2")[1]
    assert (found["clicks"], found["clicks_of_unknown_news"]) == (0, 1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--lake", "{lake}", "--user", "u3"], "hold no user 'u3'. The nearest: u1, u2"),
        (["--clicked", "n31"], "the export knows no news 'n31'. The nearest:"),
        (["--user", "u1"], "--user u1 needs --lake"),
        ([], "name either --user or the news --clicked"),
        (["--user", "u1", "--clicked", "n1"], "name either --user or the news --clicked"),
        (["--clicked", "n1", "--newer-than", "2026-01-01"], "--newer-than and --shown-on need --lake"),
        (["--clicked", "n1", "--lake", "{lake}", "--newer-than", "soon"], "write a UTC date or time such as"),
        (["--clicked", "n1", "--lake", "{lake}", "--shown-on", "2025-01-01"], "show no news of the export on 2025"),
        (["--clicked", "n1", "--top", "0"], "--top is 0: use 1 or more"),
        (["--lake", "{lake}/none", "--user", "u1"], "no Delta table that can be read"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(
    made: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    given = [word.format(lake=made / "lake") for word in words]
    assert run(recommend, ["--export", str(made / "out"), *given]) == 2
    assert message in capsys.readouterr().err


def test_a_folder_without_an_export_is_reported(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(recommend, ["--export", str(made / "packed"), "--clicked", "n1"]) == 2
    assert "Make one with ./feedloop export_embeddings" in capsys.readouterr().err
