"""Whole: the trained layers put back on the frozen ones, a language model that any Hugging Face program loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from torch import nn
from transformers.utils.hub import cached_file

from trainer.model.pretrained import load_plm, plm_path
from trainer.model.split_encoder import LAYER_LISTS, SplitEncoder

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


def whole_plm(name: str, split: SplitEncoder) -> Any:
    """The language model `name`, with the trained layers of `split` in the place of its own. On the CPU, float32."""
    plm = load_plm(name)
    trained = {key: tensor.cpu() for key, tensor in split.upper.state_dict().items()}
    if split.frozen_layers == 0:
        plm.load_state_dict(trained)
        return plm.eval()
    layers = cast(nn.ModuleList, plm.get_submodule(_place_of_layers(plm)))
    layers[split.frozen_layers :].load_state_dict(trained)
    return plm.eval()


def first_trained(plm: Any, frozen_layers: int) -> str | None:
    """The dotted name of the first trained layer in `plm`; None where all of it is trained."""
    return f"{_place_of_layers(plm)}.{frozen_layers}" if frozen_layers else None


def _place_of_layers(plm: Any) -> str:
    """The dotted name of the layers' list. There is one: else nothing of the PLM could have been frozen."""
    lists = {name for name, module in plm.named_modules() if isinstance(module, nn.ModuleList)}
    return next(place for place in LAYER_LISTS if place in lists)


def tokenizer_files(name: str) -> list[Path]:
    """The tokenizer's files of a packaged, named or downloaded language model; those of TOKENIZER_FILES that it has."""
    folder = Path(plm_path(name))
    if folder.is_dir():
        return [folder / file for file in TOKENIZER_FILES if (folder / file).is_file()]
    told: dict[str, Any] = {"local_files_only": True, "_raise_exceptions_for_missing_entries": False}
    found = [cached_file(name, file, **told) for file in TOKENIZER_FILES]
    return [Path(file) for file in found if file]
