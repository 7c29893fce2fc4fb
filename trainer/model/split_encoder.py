"""SplitEncoder: a language model cut where its lower layers are frozen; the trained ones hear what they are told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from schemas.errors import InputError
from trainer.model.bus_attention import HOOK, AttentionContext, Bus
from trainer.model.family import Family, word_width
from trainer.model.family_layers import Entering, Passing, layer_names, taken_from, with_layers
from trainer.model.packed_rows import PackedSegments

FLEX_BLOCK = 128  # FlexAttention's kernels divide rows by it


class SplitEncoder(nn.Module):
    """A PLM cut below layer n: `lower` runs once per item without gradient, `upper` is trained; n = 0 trains all.

    With frozen layers, what belongs to no layer (embeddings, relative positions, a last norm) is frozen with them.
    With `bus`, the trained layers hear an item's other segments; frozen ones never do, as they were not trained to.
    """

    def __init__(self, plm: Any, *, frozen_layers: int, bus: bool = False, packed: bool = False) -> None:
        """`packed`: forward will be given packed rows. InputError where the family cannot be cut so.

        Whether the family gives its own output, hears the bus and packs is found out by trainer/setup/encoder_trial.py.
        """
        super().__init__()
        self.bus = bus
        self.frozen_layers = frozen_layers
        self.family = family = Family.of(plm)
        self.hidden, self.vocabulary, self.longest = family.width, family.vocabulary, family.longest
        self.causal = family.causal
        self.relative = family.rotary and not frozen_layers  # frozen layers have read each segment as it stands
        self._own_attention = plm.config._attn_implementation if bus or packed else None
        self._names: list[str] = []
        self._lower: tuple[nn.Module, ...] = ()
        self._around: tuple[nn.Module, Entering] | None = None
        self.time_first = False
        if frozen_layers == 0:
            self.upper: nn.Module = plm
        else:
            self._cut(plm)
        if bus or packed:
            family.attend_by(plm, HOOK)

    def _cut(self, plm: Any) -> None:
        """Part the layers. In tuples, so that the frozen part is neither trained, saved, nor put in train mode."""
        n = self.frozen_layers
        try:
            self._names = names = layer_names(plm)
        except InputError as error:
            raise InputError(f"encoder.frozen_layers is {n}, but {error}. Set encoder.frozen_layers = 0") from error
        if n >= len(names):
            raise InputError(f"encoder.frozen_layers is {n}, this PLM has {len(names)} layers: leave one to train")
        layers = [plm.get_submodule(name) for name in names]
        _check_apart(plm, layers, n)
        passed = self.family.passed_to(plm, layers[n:], n)
        self.time_first = passed.time_first
        stand_ins = [Passing(layer, passed.others) for layer in layers]
        lower = with_layers(plm, dict(zip(names[n:], stand_ins[n:], strict=True)))
        self.upper = nn.ModuleList(layers[n:])
        self._lower = (lower.eval().requires_grad_(False), stand_ins[n])
        if not passed.chained:
            entering = Entering(layers[n], time_first=passed.time_first)
            around = with_layers(plm, dict(zip(names[: n + 1], [*stand_ins[:n], entering], strict=True)))
            around.training = False
            self._around = (around, entering)

    def lower(self, ids_CT: Tensor, mask_CT: Tensor) -> Tensor:
        """Hidden states (C, T, H) at the input of the first trained layer, without dropout or gradient."""
        whole, entrance = self._lower
        with torch.no_grad():
            whole(input_ids=ids_CT, attention_mask=mask_CT.long())
        seen, stand_in = cast(Passing, entrance).seen, cast(Passing, entrance)
        stand_in.seen = None
        assert seen is not None, "the model has run without its layers"
        return taken_from(seen, ids_CT.shape[1], time_first=self.time_first)

    @contextmanager
    def uncut(self) -> Iterator[Any]:
        """Inside, the language model as its library has it: all layers in their places, attending in their own way."""
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
        """Numbers per token at the input of the first trained layer: H, or what the family's word vectors have."""
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
        each row stands alone. `added_CTH`: added to the input of the first trained layer (input_width numbers each).
        `position_CT`: where tokens stand, for families with rotary positions whose layers are all trained.
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
            causal=self.causal,
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
            position_RW = heard.position_RW + self.family.first_position
        return self._passed(input_RW, heard.own_RWW, added_RWH, position_RW, heard)

    def _passed(
        self,
        input_CT: Tensor,
        mask: Tensor,
        added_CTH: Tensor | None,
        position_CT: Tensor | None,
        heard: AttentionContext | None,
    ) -> Tensor:
        """`mask`: the real tokens (C, T), or for each of a row's tokens what it sees (C, 1, T, T)."""
        more: dict[str, Any] = {} if heard is None else {"heard": heard}
        if self.frozen_layers and self._around is None:
            return self._one_by_one(_sum(input_CT, added_CTH), mask, more)
        more["attention_mask"] = mask.long() if mask.ndim == 2 else mask
        if position_CT is not None and self.family.takes_positions:
            more["position_ids"] = position_CT
        if self._around is not None:
            around, entering = self._around
            entering.given = _sum(input_CT, added_CTH)
            return cast(Tensor, around(**self.family.nothing_like(around, input_CT), **more).last_hidden_state)
        upper = cast(Any, self.upper)
        if added_CTH is None:
            more["input_ids"] = input_CT
        else:
            more["inputs_embeds"] = upper.get_input_embeddings()(input_CT) + added_CTH
        return cast(Tensor, upper(**more).last_hidden_state)

    def _one_by_one(self, hidden_CTH: Tensor, mask: Tensor, more: dict[str, Any]) -> Tensor:
        """The trained layers without the model around them: no masks to make, nothing for a device to wait for."""
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
        """What lies below the split: the model without its trained layers, or nothing."""
        return self._lower[:1]

    @property
    def shared_modules(self) -> tuple[nn.Module, ...]:
        """What a copy in another precision need not copy: what lies below the split, and the words' vectors."""
        words = [cast(Any, module).get_input_embeddings() for module in self.around_modules]
        return (*self._lower, *words)

    @property
    def around_modules(self) -> tuple[nn.Module, ...]:
        """What the trained layers run inside of, where they cannot run one by one; its weights are frozen."""
        return () if self._around is None else self._around[:1]

    def frozen_parameters(self) -> list[nn.Parameter]:
        """The weights below the split, in order."""
        return [p for module in self._lower for p in module.parameters()]

    def to_device(self, device: torch.device) -> None:
        """Move the frozen part too; Module.to does not see it."""
        for module in self._lower:
            module.to(device)


def _sum(input_CTH: Tensor, added_CTH: Tensor | None) -> Tensor:
    return input_CTH if added_CTH is None else input_CTH + added_CTH


def _check_apart(plm: Any, layers: list[nn.Module], frozen_layers: int) -> None:
    """Refuse layers that share weights: training the upper ones would train the frozen ones."""
    below = {id(p) for layer in layers[:frozen_layers] for p in layer.parameters()}
    if any(id(p) in below for layer in layers[frozen_layers:] for p in layer.parameters()):
        raise InputError(
            f"encoder.frozen_layers is {frozen_layers}, but layers of {type(plm).__name__} share their weights, and "
            "training the upper ones would train all. Set encoder.frozen_layers = 0"
        )
