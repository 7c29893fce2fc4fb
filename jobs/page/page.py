"""Page: facts -> one HTML page that holds all it needs: styles, scripts, charts, numbers; nothing leaves it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from jobs.page import palette, quality, speed
from jobs.page.facts import Facts, Places, read_facts
from jobs.page.logs import went_in
from jobs.page.packing import packing
from jobs.page.parts import Section, Tile, arranged
from jobs.page.setting import setting, stages
from jobs.page.training import training

PAGE = "report.html"
SCRIPTS = ("charts.js", "explorer.js")


def write_page(places: Places, out: Path, *, read_batches: bool = False) -> dict[str, Any]:
    """Write the page of a run to `out`, complete or not at all; returns its path, and what is missing on it.

    `read_batches`: see read_facts, which also says what is an InputError.
    """
    facts = read_facts(places, read_batches=read_batches)
    unfinished = out.with_name(f".{out.name}.new")
    unfinished.write_text(html_page(facts), "utf-8")
    unfinished.replace(out)
    return {"page": str(out), "bytes": out.stat().st_size, "lacking": [each.what for each in facts.lacking]}


def html_page(facts: Facts) -> str:
    """The complete page. User text is escaped everywhere, and only our scripts may run."""
    found = list(sections(facts))
    charts = {chart.key: chart.plot for section in found for chart in section.charts}
    theme, scripts = _own("theme.js"), [get_plotlyjs(), *(_own(name) for name in SCRIPTS)]
    ended = "" if facts.here else "ended " + str(facts.about["ended_at"]).replace("T", " ").replace("+00:00", " UTC")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, loader=FunctionLoader(_own), trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("template.html.j2").render(
        name=" · ".join(filter(None, [facts.source, facts.places.run.name])),
        caption=[text for text in (facts.parts.get("data"), ended) if text],
        tiles=headline(facts),
        alarms=quality.alarms(facts),
        evaluated=bool(quality.methods(facts)),
        sections=found,
        arranged=arranged,
        lacking=facts.lacking,
        policy=content_policy([theme, *scripts]),
        style=Markup(_own("page.css")),
        theme=Markup(theme),
        scripts=[Markup(script) for script in scripts],
        charts=json_for_html({"charts": charts, "night": palette.by_night()}),
        examples=json_for_html(facts.examples),
    )


def sections(facts: Facts) -> Iterator[Section]:
    """In the order of the page; what has no figures is left out."""
    made = (went_in(facts), packing(facts), speed.speed(facts), training(facts), quality.quality(facts))
    yield from (section for section in made if section is not None)
    if facts.examples:
        caption = "Evaluation impressions: what a user had read, how the model ranks what was shown, what was clicked."
        yield Section(key="explorer", title="One user at a time", caption=caption, explorer=True)
    spent = stages(facts)
    if spent is not None:
        yield spent
    yield setting(facts)


def headline(facts: Facts) -> list[Tile]:
    """The few figures at the top."""
    return [*quality.headline_tiles(facts), *speed.headline_tiles(facts)]


def json_for_html(value: Any) -> Markup:
    """JSON that can stand in a script element: nothing in it ends that element or begins another."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)


def content_policy(scripts: list[str]) -> str:
    """The Content-Security-Policy: these scripts by their hash, styles inside the page, nothing from elsewhere."""
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _own(name: str) -> str:
    """A file of this package, from a folder or a zip."""
    return files("jobs.page").joinpath(name).read_text("utf-8")
