"""Load a pretrained language model (PLM) by name or path; of one with several parts, the one that encodes text."""

from __future__ import annotations

from typing import Any

import torch
from transformers import MODEL_FOR_TEXT_ENCODING_MAPPING, AutoConfig, AutoModel, AutoModelForTextEncoding
from transformers.utils import logging as hf_logging

from schemas.errors import InputError
from trainer.model.family import first_line
from trainer.model.weights_folder import PACKAGED, plm_path

TEXT_PARTS = ("text_model", "language_model")  # where models of texts and images keep the one of texts
_DROPOUTS = ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop")
_PARALLEL = {r"^module\.": ""}  # what DataParallel puts before the name of each weight


def load_plm(name: str, *, attention_dropout: float | None = None) -> Any:
    """The model with its weights in float32. InputError names `name` when it does not load.

    `attention_dropout`: another dropout of attention weights than the model's own.
    """
    whole, part = load_assembled(name, attention_dropout=attention_dropout)
    return whole.get_submodule(part)


def load_assembled(name: str, *, attention_dropout: float | None = None) -> tuple[Any, str]:
    """(all that the folder holds, the dotted name of its part that encodes text: "" where it has no other).

    Of an encoder-decoder that is the encoder, of a model of texts and images the one of texts.
    """
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    path = plm_path(name)
    try:
        shape = AutoConfig.from_pretrained(path)
        _set_dropout(shape, attention_dropout, name)
        # Of T5 and its like the former has no decoder, nor asks for one's weights.
        auto = AutoModelForTextEncoding if type(shape) in MODEL_FOR_TEXT_ENCODING_MAPPING else AutoModel
        plm, told = auto.from_pretrained(
            path,
            config=shape,
            dtype=torch.float32,
            output_loading_info=True,
            key_mapping=_PARALLEL,
            weights_only=True,  # a pickle's code never runs
        )
    except InputError:
        raise
    except Exception as error:  # whatever is wrong with a folder of weights, the library has a class of its own for it
        raise InputError(
            f"plm {name!r} does not load: {first_line(error)} Name a folder with config.json and model.safetensors, "
            f"a Hugging Face model, or one of {sorted(PACKAGED)}"
        ) from error
    part = _text_part(plm)
    _check_complete(name, part, told["missing_keys"])
    return plm, part


def _set_dropout(shape: Any, attention_dropout: float | None, name: str) -> None:
    """InputError where the family has no such option, and would go on with a dropout of its own."""
    if attention_dropout is None:
        return
    options = [option for option in _DROPOUTS if hasattr(shape, option)]
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
    """Refuse weights that would be random. Poolers may be: feedloop pools by itself."""
    within = f"{part}." if part else ""
    own = [key.removeprefix(within) for key in missing if key.startswith(within)]
    lost = sorted(key for key in own if not key.startswith("pooler."))
    if lost:
        raise InputError(
            f"plm {name!r}: its weights lack {len(lost)} tensors that its config.json asks for, such as {lost[0]}, "
            "and would be random. Name a folder whose weights and config belong together"
        )
