"""Finds the layers of a language model of any family, replaces them, and records what the model passes to them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from schemas.errors import InputError


def layer_names(plm: Any) -> list[str]:
    """The dotted names of the layers, lowest first. InputError where the model does not hold them in one list.

    A list of lists, such as Funnel's blocks, counts as one list; lists inside a layer, such as experts, do not count.
    """
    lists: list[str] = []
    for name, module in plm.named_modules():
        if isinstance(module, nn.ModuleList) and not any(name.startswith(f"{other}.") for other in lists):
            lists.append(name)
    wanted = int(getattr(plm.config, "num_hidden_layers", 0) or 0)
    found = [layers for layers in (_flat(plm, name) for name in lists) if len(layers) == wanted]
    if len(found) != 1:
        kept = {name: len(_flat(plm, name)) for name in lists}
        raise InputError(
            f"{type(plm).__name__} has {wanted} layers by its config, and its lists of layers are {kept}: "
            "it cannot be cut between two of them"
        )
    return found[0]


def _flat(plm: Any, name: str) -> list[str]:
    module = plm.get_submodule(name)
    if not isinstance(module, nn.ModuleList):
        return [name]
    return [inner for index in range(len(module)) for inner in _flat(plm, f"{name}.{index}")]


def with_layers(plm: Any, layers: Mapping[str, nn.Module]) -> Any:
    """A model that shares everything with `plm` except the layers of these names."""
    made = {"": _shallow(plm)}
    for name, layer in layers.items():
        above, _, own = name.rpartition(".")
        _shallow_at(plm, above, made)._modules[own] = layer
    return made[""]


def _shallow_at(plm: Any, name: str, made: dict[str, Any]) -> Any:
    if name not in made:
        above, _, own = name.rpartition(".")
        made[name] = _shallow(plm.get_submodule(name))
        _shallow_at(plm, above, made)._modules[own] = made[name]
    return made[name]


def _shallow(module: Any) -> Any:
    found = copy.copy(module)
    found._modules = dict(module._modules)
    return found


class PassThrough(nn.Module):
    """Replaces a layer and returns the hidden states unchanged, in the form in which that layer returns them."""

    def __init__(self, layer: nn.Module, others: int | None) -> None:
        """`others`: as in LayerInterface."""
        super().__init__()
        _look_like(self, layer)
        self._others = others
        self.seen: Tensor | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The hidden states, also kept in `seen`."""
        self.seen = hidden_of(args, kwargs)
        return self.seen if self._others is None else (self.seen, *[None] * self._others)


class ReplacedInput(nn.Module):
    """The first trained layer in its place in the model; reads `given` (C, T, H) instead of the layer below."""

    def __init__(self, layer: nn.Module, *, time_first: bool) -> None:
        super().__init__()
        _look_like(self, layer)
        self._layer = (layer,)  # in a tuple: it is registered with the other trained layers
        self._time_first = time_first
        self.given: Tensor | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The layer's output for `given` and the other arguments that the model passes."""
        assert self.given is not None, "set `given` before each pass"
        given, self.given = self.given, None
        below = hidden_of(args, kwargs)
        entering = to_layer_layout(below, given, time_first=self._time_first)
        # Funnel's layers take the hidden states three times, as query, key and value.
        positional = [entering if each is below else each for each in args]
        named = {name: entering if each is below else each for name, each in kwargs.items()}
        return self._layer[0](*positional, **named)


def _look_like(module: nn.Module, layer: nn.Module) -> None:
    """Copies the layer's plain attributes, which models read, such as the kind of attention."""
    for name, value in vars(layer).items():
        if not name.startswith("_") and name != "training":
            setattr(module, name, value)


def hidden_of(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
    """The hidden states among a layer's arguments."""
    found: Tensor = args[0] if args else kwargs["hidden_states"]
    return found


def to_layer_layout(below: Tensor, given_CTH: Tensor, *, time_first: bool) -> Tensor:
    """`given_CTH` in the layout of the layers: time first where theirs is, and padded with zeros where the model
    lengthens its input (Longformer does, to a multiple of its window)."""
    tokens = below.shape[0] if time_first else below.shape[1]
    longer_CTH = nn.functional.pad(given_CTH, (0, 0, 0, tokens - given_CTH.shape[1]))
    return longer_CTH.transpose(0, 1) if time_first else longer_CTH


def from_layer_layout(seen: Tensor, tokens: int, *, time_first: bool) -> Tensor:
    """The inverse of to_layer_layout: (C, T, H) of a layer's input."""
    return (seen.transpose(0, 1) if time_first else seen)[:, :tokens]


@dataclass(slots=True)
class Calls:
    """What a model passes to its layers in one forward pass, and what they return."""

    hidden: list[Tensor] = field(default_factory=list)
    more: list[list[Any]] = field(default_factory=list)
    returned: list[Any] = field(default_factory=list)

    @property
    def others(self) -> int | None:
        """As in LayerInterface."""
        first = self.returned[0]
        return len(first) - 1 if isinstance(first, tuple) else None

    def chained(self, mask_CT: Tensor, last_hidden: Tensor) -> bool:
        """Whether each layer needs only the layer below and the mask of real tokens, and nothing follows the last."""
        states = [each[0] if isinstance(each, tuple) else each for each in self.returned]
        joined = all(a.data_ptr() == b.data_ptr() for a, b in zip(states, [*self.hidden[1:], last_hidden], strict=True))
        alike = all(a.shape == b.shape for a, b in zip(states, self.hidden, strict=True))
        return joined and alike and all(_is_mask_alone(more, mask_CT) for more in self.more)


def _is_mask_alone(values: Sequence[Any], mask_CT: Tensor) -> bool:
    """Whether the values are plain flags and numbers, and one boolean mask of the real keys."""
    tensors = [value for value in values if value is not None and not isinstance(value, bool | int | float | str)]
    if len(tensors) != 1 or not isinstance(tensors[0], Tensor) or tensors[0].ndim != 4:
        return False
    keys_C1TT = mask_CT[:, None, None, :].expand(-1, 1, mask_CT.shape[1], -1)
    found = tensors[0]
    return found.dtype == torch.bool and torch.equal(found.expand_as(keys_C1TT), keys_C1TT)


def record_calls(layers: Sequence[nn.Module], run: Callable[[], Tensor]) -> tuple[Calls, Tensor]:
    """(the calls of these layers while `run` runs the model, the last hidden states that it returns)."""
    calls = Calls()

    def called(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        calls.hidden.append(hidden_of(args, kwargs))
        calls.more.append([*args[1:], *(value for name, value in kwargs.items() if name != "hidden_states")])
        calls.returned.append(output)

    with ExitStack() as hooks:
        for layer in layers:
            hooks.callback(layer.register_forward_hook(called, with_kwargs=True).remove)
        last_hidden = run()
    return calls, last_hidden
