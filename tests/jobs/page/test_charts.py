"""Charts have labels and values as text, keep their meaning without colour, and escape texts."""

from __future__ import annotations

import json
from typing import Any

from jobs.page import palette
from jobs.page.charts import Row, Series, bars, columns, dots, lines
from tests.jobs.page.runs import IMAGE

ROWS = (
    Row(label=IMAGE, value=3.0, caption="3"),
    Row(label="other", value=9.0, start=3.0, caption="3.0 x", role="rival"),
)


def labels(plot: dict[str, Any]) -> list[str]:
    return [each["text"] for each in plot["layout"]["annotations"]]


def test_every_row_carries_its_label_and_value_escaped() -> None:
    escaped = IMAGE.replace("<", "&lt;").replace(">", "&gt;")
    assert labels(bars(ROWS)) == [f"{escaped}  <b>3</b>", "other  <b>3.0 x</b>"]
    assert labels(dots(ROWS, axis="AUC"))[1] == "other  <b>3.0 x</b>"
    assert IMAGE not in json.dumps([bars(ROWS), dots(ROWS, axis=IMAGE), columns([1], [2], x=IMAGE, y=IMAGE)])
    assert IMAGE not in json.dumps(lines([Series(name=IMAGE, xs=[1], ys=[2])], x=IMAGE, y=IMAGE))


def test_a_bar_goes_from_its_start_to_its_value() -> None:
    found = {trace["base"][0]: trace["x"][0] for trace in bars(ROWS, axis="clicks", log=True)["data"]}
    assert found == {0.0: 3.0, 3.0: 6.0}


def test_roles_differ_without_colour() -> None:
    patterns = {trace["marker"]["pattern"]["shape"] for trace in bars(ROWS)["data"]}
    assert len(patterns) == 2
    assert len(set(dots(ROWS, axis="AUC")["data"][0]["marker"]["symbol"])) == 2
    two = [Series(name="a", xs=[1], ys=[2]), Series(name="b", xs=[1], ys=[3], role="rival")]
    assert len({trace["line"]["dash"] for trace in lines(two, x="step", y="loss")["data"]}) == 2


def test_an_interval_reaches_from_its_low_to_its_high() -> None:
    row = Row(label="m", value=0.8, caption="", low=0.7, high=0.85)
    error = dots([row], axis="AUC")["data"][0]["error_x"]
    assert (round(error["arrayminus"][0], 6), round(error["array"][0], 6)) == (0.1, 0.05)


def test_every_colour_of_a_chart_has_a_dark_tone() -> None:
    plots = [bars(ROWS), dots(ROWS, axis="x", reference=(1.0, "all")), columns([1], [2], x="a", y="b")]
    used = {word for word in json.dumps(plots).replace('"', " ").split() if word.startswith("#")}
    assert used
    assert used <= set(palette.dark_tones())
