"""Hashes the part of a tokenizer.json that decides token ids. Two files with the same content are one tokenizer.

A file that is saved again differs in layout, vocabulary order, the notation of merges, truncation and padding that a
caller had switched on, and options that a later version of the library writes out.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from typing import Any

_LEFT_OUT = ("version", "truncation", "padding", "decoder")  # layout, callers' settings, and decoding to text
_OFF_UNLESS_NAMED = ("dropout", "unk_token", "fuse_unk", "byte_fallback", "ignore_merges", "continuing_subword_prefix",
                     "end_of_word_suffix")  # fmt: skip


@lru_cache(maxsize=4)  # a run calls this often, for one or two tokenizers
def content_sha256(text: str) -> str:
    """Hash of the vocabulary, merges, added tokens, normaliser, pre-tokenizer and post-processor of a tokenizer.json.

    "" where the text is no such file.
    """
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(raw, dict) or not isinstance(raw.get("model"), dict):
        return ""
    kept: dict[str, Any] = {name: value for name, value in raw.items() if name not in _LEFT_OUT and value is not None}
    kept["model"] = _model(raw["model"])
    kept["added_tokens"] = sorted(json.dumps(token, sort_keys=True) for token in raw.get("added_tokens") or [])
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def _model(model: dict[str, Any]) -> dict[str, Any]:
    off = {name for name in _OFF_UNLESS_NAMED if model.get(name) in (None, False, "", 0.0)}
    kept = {name: value for name, value in model.items() if name not in off}
    if isinstance(model.get("merges"), list):
        kept["merges"] = [merge.split(" ", 1) if isinstance(merge, str) else merge for merge in model["merges"]]
    return kept
