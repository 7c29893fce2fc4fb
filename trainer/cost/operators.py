"""Counts a step's operators as a GPU would see them: those that launch a kernel, and those for which the host waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

# Their result, or its size, depends on a tensor's value: the host waits for the device before it goes on.
_WAITING = frozenset(
    {
        "_local_scalar_dense",
        "_unique2",
        "equal",
        "is_nonzero",
        "item",
        "masked_select",
        "nonzero",
        "repeat_interleave",
        "unique_consecutive",
        "unique_dim",
    }
)
_WITHOUT_KERNEL = frozenset(
    {
        "alias",
        "detach",
        "empty",
        "empty_like",
        "empty_strided",
        "lift_fresh",
        "new_empty",
        "new_empty_strided",
    }
)


class OperatorCounter(TorchDispatchMode):
    """Inside, counts the operators that run in this thread, backward passes on a CPU included.

    `tolist` and `numpy` read a CPU's memory without an operator, and so are not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.launching: Counter[str] = Counter()
        """operators that launch a kernel on a GPU, by name"""
        self.waiting: Counter[str] = Counter()
        """operators for which the host waits for a GPU"""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Count the operator and run it."""
        name = func.overloadpacket.__name__
        if name in _WAITING or (name in {"index", "index_put", "index_put_"} and _by_mask(args[1])):
            self.waiting[name] += 1
        if not (func.is_view or name in _WITHOUT_KERNEL):
            self.launching[name] += 1
        return func(*args, **(kwargs or {}))


def _by_mask(indices: Sequence[Tensor | None]) -> bool:
    return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in indices)


def counted(work: Callable[[], object]) -> OperatorCounter:
    """The operators of `work`."""
    counter = OperatorCounter()
    with counter:
        work()
    return counter
