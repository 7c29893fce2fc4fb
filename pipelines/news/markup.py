"""Markup: HTML in a publisher's text -> the text that a reader of the page sees."""

from __future__ import annotations

import html
import re

import html_text
from lxml.etree import LxmlError
from lxml.html.defs import tags

# For pyarrow (RE2): a text without any of these is left as it is, which is nearly all.
MARKUP = r"<[/!]?[A-Za-z\-]|&[#A-Za-z][A-Za-z0-9]*;"
_NAMES = "|".join(sorted(tags, key=len, reverse=True))
# Only elements that HTML has: `Vector<int>` and `I <3 you` are text.
_TAG = re.compile(rf"</?(?:{_NAMES})(?:[\s/][^<>]*)?>|<!--|<!doctype\b", re.IGNORECASE)


def plain_text(text: str) -> str:
    """Tags, comments, scripts and styles out, entities decoded; a text without tags only has its entities decoded."""
    if not _TAG.search(text):
        return html.unescape(text)
    try:
        found = html_text.extract_text(text, guess_layout=False)
    except (LxmlError, ValueError):
        found = ""
    # Nested too deep for the parser, all can be lost: then the tags alone go.
    return found or html.unescape(_TAG.sub(" ", re.sub(r"<!--.*?(-->|$)", " ", text, flags=re.DOTALL)))
