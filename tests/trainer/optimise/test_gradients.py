"""Gradients of all parameters lie in one buffer, in the order of the parts, and autograd adds to it."""

from __future__ import annotations

import torch

from trainer.optimise.finite import FiniteWatch
from trainer.optimise.gradients import FlatGradients


def test_autograd_adds_to_the_buffer_and_zero_clears_it() -> None:
    one, two, three = (torch.nn.Parameter(torch.ones(shape)) for shape in ((2, 2), (3,), (1, 2)))
    gradients = FlatGradients({"head": [one], "encoder": [two, three]}, extra=2)
    for _ in range(2):
        (one.sum() + 2 * two.sum() + 3 * three.sum()).backward()
    assert gradients.of("head").tolist() == [2.0] * 4
    assert gradients.of("encoder").tolist() == [4.0] * 3 + [6.0] * 2
    gradients.extra[1] = 7.0
    assert gradients.up_to("head").tolist() == [0.0, 7.0, 2.0, 2.0, 2.0, 2.0]
    assert len(gradients.up_to("encoder")) == 2 + 9
    assert torch.equal(three.grad, torch.full((1, 2), 6.0))
    gradients.of("encoder").mul_(0.5)
    assert torch.equal(three.grad, torch.full((1, 2), 3.0))
    three.grad = None  # as an optimiser's own zero_grad leaves it
    gradients.zero()
    assert not gradients.flat.any()
    assert three.grad is not None
    (3 * three).sum().backward()
    assert gradients.of("encoder").tolist() == [0.0] * 3 + [3.0] * 2


def test_parts_without_parameters_are_empty() -> None:
    gradients = FlatGradients({"head": [], "encoder": []}, extra=1)
    assert gradients.of("encoder").numel() == 0
    assert gradients.up_to("head").numel() == 1


def test_the_first_step_that_is_not_finite_is_kept_and_all_later_ones_are_held_back() -> None:
    watch = FiniteWatch(torch.device("cpu"))
    sound, zero = torch.tensor(1.0), torch.tensor(0.0)
    assert watch.observe(3, sound, [sound], zero)
    assert watch.found() is None
    assert not watch.observe(4, sound, [torch.tensor(float("inf"))], zero)
    assert not watch.observe(5, torch.tensor(float("nan")), [sound], zero)
    assert not watch.observe(6, sound, [sound], zero)
    found = watch.found()
    assert found is not None
    assert (found.step, found.loss, found.elsewhere) == (4, 1.0, False)
    watch.reset()
    assert not watch.observe(7, sound, [sound], torch.tensor(1.0))
    assert watch.found() == (7, 1.0, True)
