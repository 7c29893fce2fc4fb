"""Loads a pretrained language model (PLM) by name or path, or the part of it that encodes text."""

from __future__ import annotations

from typing import Any

import torch
from transformers import MODEL_FOR_TEXT_ENCODING_MAPPING, AutoConfig, AutoModel, AutoModelForTextEncoding
from transformers.utils import logging as hf_logging

from schemas.errors import InputError
from trainer.model.family import ATTENTION_DROPOUTS, first_line
from trainer.model.weights_folder import PACKAGED, plm_path

TEXT_PARTS = ("text_model", "language_model")  # names of the text part in models of texts and images
_PARALLEL = {r"^module\.": ""}  # the prefix that DataParallel adds to the name of each weight


def load_plm(name: str, *, attention_dropout: float | None = None) -> Any:
    """The part that encodes text, with its weights in float32. InputError names `name` when it does not load.

    `attention_dropout`: replaces the model's own dropout of attention weights.
    """
    plm, part = load_assembled(name, attention_dropout=attention_dropout)
    return plm.get_submodule(part)


def load_assembled(name: str, *, attention_dropout: float | None = None) -> tuple[Any, str]:
    """(the complete model, the dotted name of its part that encodes text; "" where that is all of it).

    The part is the encoder of an encoder-decoder, the text model of a model of texts and images.
    """
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    path = plm_path(name)
    try:
        shape = AutoConfig.from_pretrained(path)
        _set_dropout(shape, attention_dropout, name)
        # For T5 and similar families the former has no decoder, and needs no weights for one.
        auto = AutoModelForTextEncoding if type(shape) in MODEL_FOR_TEXT_ENCODING_MAPPING else AutoModel
        plm, loading = auto.from_pretrained(
            path,
            config=shape,
            dtype=torch.float32,
            output_loading_info=True,
            key_mapping=_PARALLEL,
            weights_only=True,  # a pickle's code never runs
        )
    except InputError:
        raise
    except Exception as error:  # the library raises errors of many classes for faulty folders of weights
        raise InputError(
            f"plm {name!r} does not load: {first_line(error)} Name a folder with config.json and model.safetensors, "
            f"a Hugging Face model, or one of {sorted(PACKAGED)}"
        ) from error
    part = _text_part(plm)
    _check_complete(name, part, loading["missing_keys"])
    return plm, part


def _set_dropout(shape: Any, attention_dropout: float | None, name: str) -> None:
    """InputError where the family has no such option: it would keep its own dropout."""
    if attention_dropout is None:
        return
    options = [option for option in ATTENTION_DROPOUTS if hasattr(shape, option)]
    if not options:
        raise InputError(
            f"encoder.attention_dropout is {attention_dropout}, and plm {name!r} ({shape.model_type}) has none to set. "
            "Leave the option out"
        )
    for option in options:
        setattr(shape, option, attention_dropout)


def _text_part(plm: Any) -> str:
    if plm.config.is_encoder_decoder and type(plm.config) not in MODEL_FOR_TEXT_ENCODING_MAPPING:
        encoder = plm.get_encoder()
        return str(next(name for name, module in plm.named_modules() if module is encoder))
    if plm.config.get_text_config() is plm.config:
        return ""
    return next((part for part in TEXT_PARTS if hasattr(plm, part)), "")


def _check_complete(name: str, part: str, missing: list[str]) -> None:
    """Raises InputError for missing weights, which would be random. A pooler's may be missing: feedloop has its own."""
    within = f"{part}." if part else ""
    own = [key.removeprefix(within) for key in missing if key.startswith(within)]
    lost = sorted(key for key in own if not key.startswith("pooler."))
    if lost:
        raise InputError(
            f"plm {name!r}: its weights lack {len(lost)} tensors that its config.json asks for, such as {lost[0]}, "
            "and would be random. Name a folder whose weights and config belong together"
        )
