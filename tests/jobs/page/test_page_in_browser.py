"""The page in a browser, from a file: charts, mouse and keyboard, no network access, light and dark theme."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Request, sync_playwright

from jobs.page.facts import Facts
from jobs.page.page import html_page, sections
from tests.jobs.page.runs import EXAMPLES, HOSTILE, IMAGE

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
WIDTHS = {"desktop": (1280, 900), "phone": (390, 844)}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no chromium on PATH: install Debian's package to test the page in a browser")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def file(facts: Facts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(html_page(facts), "utf-8")
    return path


class Watched:
    """A page with its requests and errors."""

    def __init__(self, browser: Browser, file: Path, *, width: str, scheme: Any) -> None:
        across, down = WIDTHS[width]
        context = browser.new_context(viewport={"width": across, "height": down}, color_scheme=scheme)
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page: Page = context.new_page()
        context.on("request", self._requested)
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(file.as_uri())
        self.page.wait_for_function("document.querySelectorAll('.chart .main-svg').length > 0")

    def _requested(self, request: Request) -> None:
        self.requests.append(request.url)


@pytest.fixture(
    params=[("desktop", "light"), ("desktop", "dark"), ("phone", "light"), ("phone", "dark")],
    ids="-".join,
    scope="module",
)
def watched(request: pytest.FixtureRequest, browser: Browser, file: Path) -> Iterator[Watched]:
    width, scheme = request.param
    opened = Watched(browser, file, width=width, scheme=scheme)
    yield opened
    opened.page.context.close()


@pytest.fixture
def page(browser: Browser, file: Path) -> Iterator[Page]:
    opened = Watched(browser, file, width="desktop", scheme="light")
    yield opened.page
    opened.page.context.close()


def test_every_chart_is_drawn_without_errors_or_horizontal_scrolling(watched: Watched, facts: Facts) -> None:
    charts = [chart for section in sections(facts) for chart in section.charts]
    for chart in charts:
        marks = watched.page.locator(
            f"#chart-{chart.key} .main-svg :is(.bars .point path, .scatterlayer .point, .js-line)"
        )
        assert marks.count() >= len(chart.plot["data"]), chart.key
        box = watched.page.locator(f"#chart-{chart.key} .main-svg").first.bounding_box()
        assert box is not None
        assert box["width"] > 250, chart.key
        assert box["height"] > 50, chart.key
    assert watched.complaints == []
    assert {url.partition(":")[0] for url in watched.requests} <= {"file", "data"}
    assert sum(url.startswith("file:") for url in watched.requests) == 1  # the page itself
    wide = watched.page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert wide[0] <= wide[1]


def test_text_contrast_is_sufficient_in_both_themes(watched: Watched) -> None:
    script = """() => {
      const light = (colour) => colour.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255)
        .map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
        .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0);
      const behind = (element) => {
        const found = getComputedStyle(element).backgroundColor;
        return found.startsWith("rgba(0, 0, 0, 0") ? behind(element.parentElement) : found;
      };
      return [...document.querySelectorAll("p, a, dt, dd span, h1, h2, h3, th, td, summary, li, label, button")]
        .filter((element) => element.checkVisibility() && element.textContent.trim() && !element.matches(".skip"))
        .map((element) => {
          const [one, other] = [light(getComputedStyle(element).color), light(behind(element))].sort((a, b) => b - a);
          return [(one + 0.05) / (other + 0.05), element.textContent.trim().slice(0, 40)];
        }).filter(([ratio]) => ratio < 4.5);
    }"""
    assert watched.page.evaluate(script) == []


def test_the_theme_is_that_of_the_system_until_it_is_changed_and_charts_follow(watched: Watched) -> None:
    page = watched.page
    ink = "getComputedStyle(document.querySelector('.chart .annotation-text')).fill"
    ground = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(f"[{ground}, {ink}]")
    page.get_by_role("button", name="Change between light and dark").click()
    after = page.evaluate(f"[{ground}, {ink}]")
    assert before[0] != after[0]
    assert before[1] != after[1]
    page.reload()
    assert page.evaluate(f"[{ground}, {ink}]") == after  # the choice is stored
    assert watched.complaints == []


def test_texts_from_logs_neither_run_nor_reach_the_network(page: Page) -> None:
    assert page.evaluate("window.hit") is None
    assert page.locator("img").count() == 0
    page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.hit = 2'}))"
    )
    assert page.evaluate("window.hit") is None  # the policy blocks scripts that are not ours
    assert page.evaluate("fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'refused')") == "refused"


def test_labels_in_charts_show_texts_from_logs_as_text(page: Page) -> None:
    assert IMAGE in (page.locator("#chart-slice-history-length").text_content() or "")


def test_a_user_is_found_and_shown_by_mouse(page: Page) -> None:
    users = page.locator("#users").get_by_role("option")
    assert users.count() == len(EXAMPLES)
    shown = page.locator("#looked-at")
    assert f"User {HOSTILE}" in shown.inner_text()
    users.nth(1).click()
    text = shown.inner_text()
    assert "User anna" in text
    assert "AUC 1.000" in text
    rows = shown.locator(".candidate")
    assert [row.split("\n")[0] for row in rows.all_inner_texts()] == ["1.", "2.", "3."]
    assert rows.nth(1).locator(".mark").inner_text() == "✓ clicked"
    assert HOSTILE in rows.nth(0).inner_text()
    widths = [box["width"] for row in rows.all() if (box := row.locator(".bar i").bounding_box())]
    assert widths == sorted(widths, reverse=True)
    assert shown.locator(".history li").nth(0).inner_text().startswith(IMAGE)  # the newest first


def test_a_user_is_found_and_shown_by_keyboard(page: Page) -> None:
    page.locator("#search").focus()
    page.keyboard.press("ArrowDown")
    assert "User anna" in page.locator("#looked-at").inner_text()
    chosen = page.locator('[role=option][aria-selected="true"]')
    assert page.locator("#search").get_attribute("aria-activedescendant") == chosen.get_attribute("id")
    page.keyboard.type("vote BERT")
    assert page.locator("#found").inner_text() == "1 of 3 impressions"
    assert "User bert" in page.locator("#looked-at").inner_text()
    page.keyboard.type(" nobody")
    assert "No impression matches" in page.locator("#looked-at").inner_text()
    page.keyboard.press("Escape")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    assert page.locator("#order").input_value() == "best"
    assert "User anna" in page.locator("#looked-at").inner_text()
    page.keyboard.press("Tab")
    page.keyboard.press("End")
    assert "User bert" in page.locator("#looked-at").inner_text()
    page.keyboard.press("ArrowUp")
    assert f"User {HOSTILE}" in page.locator("#looked-at").inner_text()
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def test_numbers_are_below_each_chart_without_scripts(browser: Browser, file: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(file.as_uri())
    page.locator("summary", has_text="Outcome of the log lines").click()
    assert page.get_by_role("cell", name="1,200").is_visible()
    context.close()
