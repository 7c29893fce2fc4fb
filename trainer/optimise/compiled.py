"""Compiles the encoder's forward pass: once for each shape of a short list, and never silently not at all."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any, cast

import torch
from torch import Tensor
from torch._dynamo.exc import FailOnRecompileLimitHit

from schemas.errors import InputError

Vectors = Callable[..., Tensor]
Compiler = Callable[[Vectors], Vectors]

FORMS = 8  # shapes that a compiler sees, where nothing else is said


def inductor(function: Vectors) -> Vectors:
    """torch.compile for fixed shapes."""
    compiled: Vectors = torch.compile(function, dynamic=False)
    return compiled


def traced(function: Vectors) -> Vectors:
    """torch.compile without code generation: the compiler stages that all devices share."""
    compiled: Vectors = torch.compile(function, dynamic=False, backend="aot_eager")
    return compiled


def compiled_for(method: Vectors, compiler: Compiler, forms: int = FORMS) -> Vectors:
    """The compiled method, for `forms` shapes at most. InputError names the shape that would be one too many.

    Past its limit torch would run the method uncompiled without notice.
    """
    compiled = compiler(_with_own_code(cast(MethodType, method)))

    def call(given: Any) -> Tensor:
        try:
            with torch._dynamo.config.patch(recompile_limit=forms, fail_on_recompile_limit_hit=True):
                return compiled(given)
        except FailOnRecompileLimitHit as error:
            shapes = {name: tuple(each.shape) for name, each in given._asdict().items() if isinstance(each, Tensor)}
            raise InputError(
                f"the encoder is compiled for {forms} shapes of chunks, and one more is asked for: {shapes}. Set "
                "run.compile = false"
            ) from error

    return call


def _with_own_code(method: MethodType) -> Vectors:
    """The method with a code object of its own: torch counts compiled forms by code object, and so those of all
    encoders of a process together."""
    function = cast(FunctionType, method.__func__)
    own = FunctionType(function.__code__.replace(), function.__globals__, function.__name__, function.__defaults__)
    return MethodType(own, method.__self__)
