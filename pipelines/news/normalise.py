"""Normalises publishers' text: plain, NFC, white space folded, without control characters."""

from __future__ import annotations

import html
import unicodedata

import pyarrow as pa
import pyarrow.compute as pc

# Control characters except white space. U+001C to U+001F are separators, so they count as white space.
_CONTROL = r"[\x00-\x08\x0E-\x1B\x7F-\x{84}\x{86}-\x{9F}]+"
# Unicode's white space and the byte order mark, written out: RE2's \s is ASCII only.
_WHITE_SPACE = r"[\x09-\x0D\x1C-\x20\x{85}\x{FEFF}\p{Z}]+"

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


def normalise(texts: pa.Array) -> pa.Array:
    """The normalised texts; a missing text becomes an empty one."""
    plain = plain_text(_printable(pc.fill_null(texts, "")))
    printable = _printable(_composed(plain))  # again: an entity can encode a control character
    folded = pc.replace_substring_regex(printable, pattern=_WHITE_SPACE, replacement=" ")
    return pc.utf8_trim(folded, characters=" ")


def _printable(texts: pa.Array) -> pa.Array:
    return pc.replace_substring_regex(texts, pattern=_CONTROL, replacement="")


def _composed(texts: pa.Array) -> pa.Array:
    """NFC by Python's own tables: pyarrow 14's utf8_normalize decomposes under every form. ASCII needs none."""
    odd = pc.invert(pc.string_is_ascii(texts))
    values = [unicodedata.normalize("NFC", text) for text in texts.filter(odd).to_pylist()]
    return pc.replace_with_mask(texts, odd, pa.array(values, pa.string()))
