"""Splits a language model into frozen lower layers and trained upper ones, with bus, packed rows and positions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from schemas.errors import InputError
from trainer.model.bus_attention import HOOK, AttentionContext, Bus
from trainer.model.family import Family, word_width
from trainer.model.family_layers import PassThrough, ReplacedInput, from_layer_layout, layer_names, with_layers
from trainer.model.packed_rows import FLEX_BLOCK, PackedSegments, RowMaps


class SplitEncoder(nn.Module):
    """A PLM cut below layer n: `lower` runs once per item without gradient, `upper` is trained; n = 0 trains all.

    With frozen layers, modules outside of any layer (embeddings, relative positions, a last norm) are frozen too.
    With `bus`, the trained layers attend to an item's other segments; frozen ones do not: they were not trained to.
    """

    def __init__(self, plm: Any, *, frozen_layers: int, bus: bool = False, packed: bool = False) -> None:
        """`packed`: rows hold several items. InputError where the family cannot be cut like this.

        trainer/setup/encoder_trial.py tries whether the split family gives its own output, uses the bus and packs.
        """
        super().__init__()
        self.bus = bus
        self.frozen_layers = frozen_layers
        self.family = family = Family.of(plm)
        self.hidden, self.vocabulary, self.longest = family.width, family.vocabulary, family.longest
        self.causal = family.causal
        self.relative = family.rotary and not frozen_layers  # frozen layers read a segment with its own positions
        self._own_attention = plm.config._attn_implementation if bus or packed else None
        self._names: list[str] = []
        self._lower: tuple[nn.Module, ...] = ()
        self._around: tuple[nn.Module, ReplacedInput] | None = None
        self.time_first = False
        if frozen_layers == 0:
            self.upper: nn.Module = plm
        else:
            self._cut(plm)
        if bus or packed:
            family.set_attention(plm, HOOK)

    def _cut(self, plm: Any) -> None:
        """Splits the layers. Tuples hide the frozen part, so that it is not trained, saved or put in train mode."""
        n = self.frozen_layers
        try:
            self._names = names = layer_names(plm)
        except InputError as error:
            raise InputError(f"encoder.frozen_layers is {n}, but {error}. Set encoder.frozen_layers = 0") from error
        if n >= len(names):
            raise InputError(f"encoder.frozen_layers is {n}, this PLM has {len(names)} layers: leave one to train")
        layers = [plm.get_submodule(name) for name in names]
        _check_unshared(plm, layers, n)
        passed = self.family.layer_interface(plm, layers[n:], n)
        self.time_first = passed.time_first
        stand_ins = [PassThrough(layer, passed.others) for layer in layers]
        lower = with_layers(plm, dict(zip(names[n:], stand_ins[n:], strict=True)))
        self.upper = nn.ModuleList(layers[n:])
        self._lower = (lower.eval().requires_grad_(False), stand_ins[n])
        if not passed.chained:
            entering = ReplacedInput(layers[n], time_first=passed.time_first)
            around = with_layers(plm, dict(zip(names[: n + 1], [*stand_ins[:n], entering], strict=True)))
            around.training = False
            self._around = (around, entering)

    def lower(self, ids_CT: Tensor, mask_CT: Tensor) -> Tensor:
        """Hidden states (C, T, H) at the input of the first trained layer, without dropout or gradient."""
        model, entrance = self._lower
        with torch.no_grad():
            model(input_ids=ids_CT, attention_mask=mask_CT.long())
        stand_in = cast(PassThrough, entrance)
        seen, stand_in.seen = stand_in.seen, None
        assert seen is not None, "the model has not called its layers"
        return from_layer_layout(seen, ids_CT.shape[1], time_first=self.time_first)

    @contextmanager
    def uncut(self) -> Iterator[Any]:
        """Inside, the language model of its library: all layers in their places, with their own attention."""
        plm: Any = self.upper
        if self.frozen_layers:
            above = zip(self._names[self.frozen_layers :], self.trained_layers, strict=True)
            plm = with_layers(self._lower[0], dict(above))
        if self._own_attention is not None:
            plm.set_attn_implementation(self._own_attention)
        try:
            yield plm
        finally:
            if self._own_attention is not None:
                plm.set_attn_implementation(HOOK)

    @property
    def input_width(self) -> int:
        """Width of the first trained layer's input: H, or the width of the family's word vectors."""
        if self.frozen_layers:
            return self.hidden
        return word_width(self.upper)

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
        rows do not see each other. `added_CTH`: added to the input of the first trained layer (input_width numbers).
        `position_CT`: positions of tokens, for families with rotary positions whose layers are all trained.
        """
        context = None
        if self.bus and segment_mask_CS is not None and segment_mask_CS.shape[1] > 1:
            context = Bus(segment_mask_CS, self.frozen_layers)
        position_CT = position_CT if self.relative else None
        return self._run_trained(input_CT, mask_CT, added_CTH, position_CT, context)

    def packed_attention(self, maps: RowMaps) -> PackedSegments:
        """The attention context of one forward pass over packed rows; `maps`: tensors."""
        place = maps.position_RW
        return PackedSegments(
            maps,
            first_layer=self.frozen_layers,
            bus=self.bus,
            causal=self.causal,
            flex=place.is_cuda and place.shape[1] % FLEX_BLOCK == 0 and not self.family.attention_dropout,
        )

    def packed(
        self,
        input_RW: Tensor,
        context: PackedSegments,
        *,
        added_RWH: Tensor | None = None,
        position_RW: Tensor | None = None,
    ) -> Tensor:
        """Hidden states (R, W, H) of packed rows. `context`: from packed_attention, for this pass alone."""
        if position_RW is None or not self.relative:
            position_RW = context.position_RW + self.family.first_position
        return self._run_trained(input_RW, context.for_model(), added_RWH, position_RW, context)

    def _run_trained(
        self,
        input_CT: Tensor,
        mask: Tensor,
        added_CTH: Tensor | None,
        position_CT: Tensor | None,
        context: AttentionContext | None,
    ) -> Tensor:
        """`mask`: the real tokens (C, T), or the tokens that each token of a row sees (C, 1, T, T)."""
        more: dict[str, Any] = {} if context is None else {"attention_context": context}
        if self.frozen_layers and self._around is None:
            return self._one_by_one(_sum(input_CT, added_CTH), mask, more)
        more["attention_mask"] = mask if mask.ndim == 4 else self._mask_for_model(mask)
        if position_CT is not None and self.family.takes_positions:
            more["position_ids"] = position_CT
        if self._around is not None:
            around, entering = self._around
            entering.given = _sum(input_CT, added_CTH)
            return cast(Tensor, around(**self.family.empty_input(around, input_CT), **more).last_hidden_state)
        upper = cast(Any, self.upper)
        if added_CTH is None:
            more["input_ids"] = input_CT
        else:
            more["inputs_embeds"] = upper.get_input_embeddings()(input_CT) + added_CTH
        return cast(Tensor, upper(**more).last_hidden_state)

    def _mask_for_model(self, mask_CT: Tensor) -> Tensor:
        """The mask as a model takes it: of all pairs where it can, since from a mask of real tokens a model reads on
        the host whether any is hidden."""
        if not self.family.takes_pairs:
            return mask_CT.long()
        rows, tokens = mask_CT.shape
        pairs_CTT = mask_CT[:, None, None, :].expand(rows, 1, tokens, tokens)
        return pairs_CTT.tril() if self.causal else pairs_CTT

    def _one_by_one(self, hidden_CTH: Tensor, mask: Tensor, more: dict[str, Any]) -> Tensor:
        """Runs the trained layers without the model around them, which would build masks and stall the device."""
        for layer in self.trained_layers:
            output = layer(hidden_CTH, attention_mask=mask[:, None, None, :] if mask.ndim == 2 else mask, **more)
            hidden_CTH = output[0] if isinstance(output, tuple) else output
        return hidden_CTH

    @property
    def trained_layers(self) -> list[nn.Module]:
        """The layers above the split, lowest first."""
        assert self.frozen_layers, "nothing is split"
        return list(cast(nn.ModuleList, self.upper))

    @property
    def frozen_modules(self) -> tuple[nn.Module, ...]:
        """The model below the split, without its trained layers; empty where nothing is frozen."""
        return self._lower[:1]

    @property
    def shared_modules(self) -> tuple[nn.Module, ...]:
        """The modules that a copy in another precision can share: those below the split, and the word vectors."""
        words = [cast(Any, module).get_input_embeddings() for module in self.around_modules]
        return (*self._lower, *words)

    @property
    def around_modules(self) -> tuple[nn.Module, ...]:
        """The model in which the trained layers run, where they cannot run one by one; its weights are frozen."""
        return () if self._around is None else self._around[:1]

    def frozen_parameters(self) -> list[nn.Parameter]:
        """The weights below the split, in order."""
        return [p for module in self._lower for p in module.parameters()]

    def to_device(self, device: torch.device) -> None:
        """Moves the frozen part, which Module.to does not see."""
        for module in self._lower:
            module.to(device)


def _sum(input_CTH: Tensor, added_CTH: Tensor | None) -> Tensor:
    return input_CTH if added_CTH is None else input_CTH + added_CTH


def _check_unshared(plm: Any, layers: list[nn.Module], frozen_layers: int) -> None:
    """Raises InputError for layers that share weights: training the upper ones would train the frozen ones."""
    below = {id(p) for layer in layers[:frozen_layers] for p in layer.parameters()}
    if any(id(p) in below for layer in layers[frozen_layers:] for p in layer.parameters()):
        raise InputError(
            f"encoder.frozen_layers is {frozen_layers}, but layers of {type(plm).__name__} share their weights, and "
            "training the upper ones would train all. Set encoder.frozen_layers = 0"
        )
