"""Renders the facts of a run as one self-contained HTML file, which fetches nothing and sends nothing."""

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
from jobs.page.logs import input_section
from jobs.page.packing import packing
from jobs.page.parts import Section, Tile, arranged
from jobs.page.setting import setting, stages
from jobs.page.training import training

PAGE = "report.html"
SCRIPTS = ("charts.js", "explorer.js")


def write_page(places: Places, out: Path, *, read_batches: bool = False) -> dict[str, Any]:
    """Write the page of a run to `out` atomically; return its path, its size, and what is missing on it.

    `read_batches` and InputError: see read_facts.
    """
    facts = read_facts(places, read_batches=read_batches)
    unfinished = out.with_name(f".{out.name}.new")
    unfinished.write_text(html_page(facts), "utf-8")
    unfinished.replace(out)
    return {"page": str(out), "bytes": out.stat().st_size, "lacking": [each.what for each in facts.lacking]}


def html_page(facts: Facts) -> str:
    """The complete page. User text is escaped everywhere, and only the page's own scripts may run."""
    found = list(sections(facts))
    charts = {chart.key: chart.plot for section in found for chart in section.charts}
    theme, scripts = _package_text("theme.js"), [get_plotlyjs(), *(_package_text(name) for name in SCRIPTS)]
    ended = (
        ""
        if facts.about_is_local
        else "ended " + str(facts.about["ended_at"]).replace("T", " ").replace("+00:00", " UTC")
    )
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        loader=FunctionLoader(_package_text),
        trim_blocks=True,
        lstrip_blocks=True,
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
        style=Markup(_package_text("page.css")),
        theme=Markup(theme),
        scripts=[Markup(script) for script in scripts],
        charts=json_for_html({"charts": charts, "night": palette.dark_tones()}),
        examples=json_for_html(facts.examples),
    )


def sections(facts: Facts) -> Iterator[Section]:
    """The sections in the order of the page, without those that have no figures."""
    made = (input_section(facts), packing(facts), speed.speed(facts), training(facts), quality.quality(facts))
    yield from (section for section in made if section is not None)
    if facts.examples:
        caption = "Evaluation impressions: news that the user had read, shown news in the model's order, and clicks."
        yield Section(key="explorer", title="One user at a time", caption=caption, explorer=True)
    spent = stages(facts)
    if spent is not None:
        yield spent
    yield setting(facts)


def headline(facts: Facts) -> list[Tile]:
    """The figures at the top of the page."""
    return [*quality.headline_tiles(facts), *speed.headline_tiles(facts)]


def json_for_html(value: Any) -> Markup:
    """JSON for a script element, escaped so that it cannot end that element or start another."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)


def content_policy(scripts: list[str]) -> str:
    """The Content-Security-Policy: allows these scripts by hash and inline styles, and nothing else."""
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _package_text(name: str) -> str:
    """The text of a file of this package, in a folder or a zip."""
    return files("jobs.page").joinpath(name).read_text("utf-8")
