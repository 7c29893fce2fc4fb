"""In double: families whose norms step down to float32 stay in float64 while rules are put to the proof."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class InDouble(TorchFunctionMode):
    """Inside, a cast of float64 numbers to float32 leaves them as they are: rounding would hide a proof's digits."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if not args or not isinstance(args[0], Tensor) or args[0].dtype != torch.float64:
            return func(*args, **given)
        if func is Tensor.float:
            return args[0]
        if given.get("dtype") is torch.float32:  # softmax, and casts by name
            given["dtype"] = torch.float64
        stays = [torch.float64 if each is torch.float32 else each for each in args]
        return func(*stays, **given)
