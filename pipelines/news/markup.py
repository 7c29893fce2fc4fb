"""Converts HTML in a publisher's text to the text that a reader of the page sees.

Uses a few RE2 expressions, which take linear time for any text. html_text and lxml lose text after `</html>` or below
256 levels, split words at inline tags, and take minutes for a text with many comments (LOG.md).
"""

from __future__ import annotations

import html

import pyarrow as pa
import pyarrow.compute as pc

# Elements that may occur inside a word; all others separate words.
_INLINE = (
    "a abbr acronym b bdi bdo big cite code data del dfn em font i ins kbd label mark nobr q ruby s samp small span "
    "strike strong sub sup time tt u var wbr"
)
_BLOCK = (
    "address applet area article aside audio base basefont blockquote body br button canvas caption center col "
    "colgroup datalist dd details dialog dir div dl dt embed fieldset figcaption figure footer form frame frameset h1 "
    "h2 h3 h4 h5 h6 head header hgroup hr html iframe img input legend li link main map math menu meta meter nav "
    "noframes noscript object ol optgroup option output p param picture pre progress rp rt script search section "
    "select slot source style summary svg table tbody td template textarea tfoot th thead title tr track ul video"
)
_ATTRIBUTES = r"""(?:[\s/](?:[^<>"']|"[^"]*"|'[^']*')*>|[\s/][^<>]*>|>)"""


def _tag(names: str) -> str:
    return rf"(?i)</?(?:{names.replace(' ', '|')}){_ATTRIBUTES}"


# Only HTML's own elements: `Vector<int>` and `I <3 you` are text.
_STEPS = (
    (r"(?is)<!--.*?(?:-->|$)", ""),
    (r"(?is)<script[\s/>].*?(?:</script\s*>|$)|<style[\s/>].*?(?:</style\s*>|$)", " "),
    (r"(?i)<!doctype[^<>]*>|<\?xml[^<>]*>|<!\[CDATA\[|\]\]>", " "),
    (_tag(_INLINE), ""),
    (_tag(_BLOCK), " "),
)
_MARKUP = r"<[/!?]?[A-Za-z\-\[]|&[#A-Za-z][A-Za-z0-9]*;"  # texts without a match, nearly all, stay unchanged


def plain_text(texts: pa.Array) -> pa.Array:
    """The texts without tags, comments, scripts and styles, entities decoded."""
    marked = pc.match_substring_regex(texts, _MARKUP)
    found = texts.filter(marked)
    for pattern, instead in _STEPS:
        found = pc.replace_substring_regex(found, pattern=pattern, replacement=instead)
    decoded = pa.array([html.unescape(text) for text in found.to_pylist()], pa.string())
    return pc.replace_with_mask(texts, marked, decoded)
