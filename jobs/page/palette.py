"""The page's colours, each in a light and a dark tone; patterns and symbols carry the same meaning without colour."""

from __future__ import annotations

from typing import NamedTuple


class Tone(NamedTuple):
    """One colour in the light and the dark theme."""

    light: str
    dark: str


INK = Tone("#1d1d1b", "#efeeea")
SOFT = Tone("#5b5a55", "#b4b2aa")
GRID = Tone("#e2e0d9", "#3a3936")
PAPER = Tone("#ffffff", "#1f1f1d")
MAIN = Tone("#1f63b5", "#7db2f5")
QUIET = Tone("#8f8d86", "#8b8982")
OTHER = Tone("#b4540a", "#f0a35e")

ALL = (INK, SOFT, GRID, PAPER, MAIN, QUIET, OTHER)
CLEAR = "rgba(0,0,0,0)"


class Role(NamedTuple):
    """How marks with one meaning are drawn."""

    tone: Tone
    pattern: str
    """fill pattern of bars"""
    symbol: str
    """marker symbol of points"""
    dash: str
    """dash style of lines"""


ROLES = {
    "main": Role(MAIN, "", "circle", "solid"),
    "rival": Role(QUIET, "/", "diamond-open", "dash"),
    "other": Role(OTHER, ".", "square", "dot"),
}


def dark_tones() -> dict[str, str]:
    """Light tone -> dark tone, which the page's script replaces in charts."""
    return {tone.light: tone.dark for tone in ALL}
