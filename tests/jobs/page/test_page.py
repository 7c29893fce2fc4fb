"""The page as text: complete, escaped, without network access, with the numbers of the facts."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from jobs.page.facts import Facts, Places
from jobs.page.page import html_page, json_for_html, sections, write_page
from tests.jobs.page.runs import EXAMPLES, HOSTILE, IMAGE


class Elements(HTMLParser):
    """Parsed page: tags with their attributes, text by tag, scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] == "script":
            self.scripts[-1] += data
        else:
            self.words.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self.tags.append(("/script", {}))


@pytest.fixture(scope="module")
def text(facts: Facts) -> str:
    return html_page(facts)


@pytest.fixture(scope="module")
def found(text: str) -> Elements:
    return Elements(text)


def test_texts_from_logs_become_no_elements(text: str, found: Elements) -> None:
    assert not [tag for tag, _ in found.tags if tag == "img"]
    assert len([tag for tag, _ in found.tags if tag == "script"]) == 6  # three of ours, plotly.js, two of data
    assert not [name for _, attributes in found.tags for name in attributes if name.startswith("on")]
    texts = "".join(found.words)
    assert IMAGE in texts  # as text
    assert HOSTILE in texts


def test_only_our_scripts_may_run_and_nothing_may_be_fetched(found: Elements) -> None:
    (policy,) = (a["content"] or "" for tag, a in found.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe-eval" not in policy
    allowed = set(re.findall(r"'sha256-([^']+)'", policy))
    code = [script for script in found.scripts if not script.lstrip().startswith(("{", "["))]
    assert {base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in code} == allowed
    assert len(code) == 4
    assert "'unsafe-inline'" not in policy.partition("script-src")[2].partition(";")[0]
    outside = [
        a for _, a in found.tags for name in ("src", "href") if not (a.get(name) or "#").startswith(("#", "data:"))
    ]
    assert outside == []


def test_data_in_scripts_is_read_back_unchanged(found: Elements) -> None:
    examples = json.loads(found.scripts[2])
    assert examples == EXAMPLES
    assert json.loads(json_for_html([HOSTILE, "\u2028&<!--"])) == [HOSTILE, "\u2028&<!--"]
    assert not set("<>&\u2028\u2029") & set(json_for_html([HOSTILE, "\u2028\u2029&<!--"]))


def test_ids_are_unique_headings_in_order_and_references_valid(found: Elements) -> None:
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in found.tags:
        for name in ("aria-labelledby", "aria-describedby", "aria-controls", "for"):
            assert attributes.get(name) is None or attributes[name] in ids
        href = attributes.get("href") or ""
        assert not href.startswith("#") or href[1:] in ids
    levels = [int(tag[1]) for tag, _ in found.tags if tag in {"h1", "h2", "h3"}]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    tags = [tag for tag, _ in found.tags]
    assert [tags.count(tag) for tag in ("header", "nav", "main", "footer")] == [1, 1, 1, 1]
    assert ("html", {"lang": "en"}) in found.tags


def test_every_number_of_every_chart_is_in_a_table(facts: Facts, found: Elements) -> None:
    texts = {word.strip() for word in found.words}
    charts = [chart for section in sections(facts) for chart in section.charts]
    assert len(charts) > 15
    for chart in charts:
        assert {cell for row in chart.table.rows for cell in row} <= texts, chart.key
        assert {chart.title, chart.caption} <= texts
    for section in sections(facts):
        assert {tile.value for tile in section.tiles} <= texts


def test_sections_are_in_order(facts: Facts) -> None:
    keys = [section.key for section in sections(facts)]
    assert keys == ["logs", "packing", "speed", "training", "quality", "explorer", "stages", "setting"]


def test_a_page_with_few_facts_lists_the_missing_ones(bare: Facts) -> None:
    found = Elements(html_page(bare))
    texts = "".join(found.words)
    assert "Missing from this page" in texts
    assert "./feedloop evaluate --checkpoint" in texts
    assert "No alarms" not in texts  # not evaluated


def test_a_page_is_written_atomically(run: Path, tmp_path: Path) -> None:
    result = write_page(Places(run=run), tmp_path / "page.html")
    assert result["bytes"] == (tmp_path / "page.html").stat().st_size
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert (tmp_path / "page.html").read_text().rstrip().endswith("</html>")
