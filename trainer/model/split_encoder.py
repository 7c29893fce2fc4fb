"""SplitEncoder: a language model cut where its lower layers are frozen; the trained ones hear what they are told."""

from __future__ import annotations

import copy
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from schemas.errors import InputError
from trainer.model.bus_attention import HOOK, Bus, Heard
from trainer.model.packed_rows import PackedSegments, pack_rows

FLEX_BLOCK = 128  # FlexAttention's kernels divide rows by it
LAYER_LISTS = ("encoder.layer", "transformer.layer")  # where BERT-shaped families and DistilBERT keep their layers


class SplitEncoder(nn.Module):
    """A PLM cut below layer n: `lower` runs once per item without gradient, `upper` is trained; n = 0 trains all.

    With `bus`, the trained layers hear an item's other segments; frozen ones never do, as they were not trained to.
    """

    def __init__(self, plm: Any, *, frozen_layers: int, bus: bool = False, packed: bool = False) -> None:
        """`packed`: forward will be given packed rows. InputError where the family cannot be used so."""
        super().__init__()
        self.bus = bus
        if bus or packed:
            plm.set_attn_implementation(HOOK)
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
        self._lower: tuple[nn.Module, ...] = ()
        if frozen_layers == 0:
            self.upper: nn.Module = plm
        else:
            lower = copy.copy(plm)  # shares weights; only the path to the layer list is replaced
            lower._modules = dict(plm._modules)
            _replace_layers(lower, place, layers[:frozen_layers])
            self.upper = nn.ModuleList(layers[frozen_layers:])
            # In a tuple, so that the frozen part is neither trained, saved, nor put in train mode.
            self._lower = (lower.eval().requires_grad_(False),)
            self._probe(plm)
        self._probe_bus(plm)
        if packed:
            self._probe_packed(plm)

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
        heard = None
        if self.bus and segment_mask_CS is not None and segment_mask_CS.shape[1] > 1:
            heard = Bus(segment_mask_CS, self.frozen_layers)
        position_CT = position_CT if self.relative else None
        return self._passed(input_CT, mask_CT, added_CTH, position_CT, heard)

    def sharing_rows(self, source_RW: Tensor, *, segments: int, longest: int) -> PackedSegments:
        """What tokens of packed rows attend to in one forward pass; `source_RW` as in Packing, of S segments of T."""
        return PackedSegments(
            source_RW,
            segments=segments,
            longest=longest,
            first_layer=self.frozen_layers,
            bus=self.bus,
            flex=source_RW.is_cuda and source_RW.shape[1] % FLEX_BLOCK == 0,
        )

    def packed(
        self,
        input_RW: Tensor,
        heard: PackedSegments,
        *,
        added_RWH: Tensor | None = None,
        position_RW: Tensor | None = None,
    ) -> Tensor:
        """Hidden states (R, W, H) of packed rows. `heard`: what sharing_rows made for this pass."""
        if position_RW is None or not self.relative:
            position_RW = heard.position_RW + self._first_position
        return self._passed(input_RW, heard.own_RWW, added_RWH, position_RW, heard)

    @property
    def _first_position(self) -> int:
        """RoBERTa and its like count tokens from the pad's id on."""
        embeddings = getattr(self.upper, "embeddings", None)
        counts = hasattr(embeddings, "create_position_ids_from_input_ids")
        return int(cast(Any, embeddings).padding_idx) + 1 if counts else 0

    def _passed(
        self,
        input_CT: Tensor,
        mask: Tensor,
        added_CTH: Tensor | None,
        position_CT: Tensor | None,
        heard: Heard | None,
    ) -> Tensor:
        """`mask`: the real tokens (C, T), or for each of a row's tokens what it sees (C, 1, T, T)."""
        more: dict[str, Any] = {} if heard is None else {"heard": heard}
        if self.frozen_layers == 0:
            more["attention_mask"] = mask.long() if mask.ndim == 2 else mask
            if added_CTH is None:
                more["input_ids"] = input_CT
            else:
                more["inputs_embeds"] = cast(Any, self.upper).get_input_embeddings()(input_CT) + added_CTH
            if position_CT is not None:
                more["position_ids"] = position_CT
            return cast(Tensor, self.upper(**more).last_hidden_state)
        hidden_CTH = input_CT if added_CTH is None else input_CT + added_CTH
        for layer in cast(nn.ModuleList, self.upper):
            output = layer(hidden_CTH, attention_mask=mask[:, None, None, :] if mask.ndim == 2 else mask, **more)
            hidden_CTH = output[0] if isinstance(output, tuple) else output
        return hidden_CTH

    @property
    def frozen_modules(self) -> tuple[nn.Module, ...]:
        """What lies below the split: one module, or none."""
        return self._lower

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

    @torch.no_grad()
    def _probe_packed(self, plm: Any) -> None:
        """Refuse a family whose packed rows do not give the padded form's output."""
        length_CS = np.array([[6, 3], [4, 0], [2, 5]])
        mask_CT = torch.from_numpy(np.arange(6) < length_CS.reshape(-1, 1))
        ids_CT = torch.where(mask_CT, torch.arange(36).reshape(6, 6) % (self.vocabulary - 5) + 5, 0)
        made = pack_rows(length_CS, longest=6, width=16)
        source_RW = torch.from_numpy(made.source_RW)
        was_training = plm.training
        plm.eval()
        below = self.lower(ids_CT, mask_CT) if self.frozen_layers else ids_CT
        padded = self(below, mask_CT, torch.from_numpy(length_CS > 0))[mask_CT]
        heard = self.sharing_rows(source_RW, segments=2, longest=6)
        packed = self.packed(below.flatten(0, 1)[source_RW.clamp(min=0)], heard)
        plm.train(was_training)
        error = float(
            (packed.flatten(0, 1)[torch.from_numpy(made.slot_CST).flatten(0, 1)[mask_CT]] - padded).abs().max()
        )
        if not error < 1e-4:
            raise InputError(
                f"this PLM ({type(plm).__name__}) gives other vectors when items share a row (difference {error:.2g}). "
                "Set encoder.row_tokens = 0"
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
