"""The optimiser: one division by the count, two parts with rates and clips of their own."""

from __future__ import annotations

import copy

import pytest
import torch

from trainer.encode.policies import PlannerConfig
from trainer.optimise.optimiser import Optimiser, OptimiserConfig, Parameters


def take(
    optimiser: Optimiser, count: float, *, encoder: bool = True, reached: bool = True, finite: bool = True
) -> None:
    """One update, as a step makes it."""
    averaged = optimiser.average(count, update_encoder=encoder)
    optimiser.step(averaged, torch.tensor(finite), update_encoder=encoder, reached=torch.tensor(float(reached)))


def set_gradient(parameter: torch.nn.Parameter, value: torch.Tensor | float) -> torch.Tensor:
    """Fills the parameter's gradient, which is part of the optimiser's flat one."""
    assert parameter.grad is not None
    with torch.no_grad():
        return parameter.grad.copy_(torch.as_tensor(value))


def test_gradients_are_sums_and_divided_by_the_count() -> None:
    weight = torch.nn.Parameter(torch.zeros(2, 2))
    twin = torch.nn.Parameter(torch.zeros(2, 2))
    for parameter, scale in ((weight, 8.0), (twin, 1.0)):
        optimiser = Optimiser(OptimiserConfig(clip_norm=0.5), Parameters([], [], [parameter]), steps=10)
        set_gradient(parameter, torch.tensor([[3.0, 0.0], [0.0, 4.0]]) * scale)
        take(optimiser, scale)
        assert parameter.grad is not None
        assert parameter.grad.norm() == pytest.approx(0.5, rel=1e-3)
    assert torch.equal(weight, twin)


def test_a_count_of_zero_moves_nothing_but_the_schedule() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    optimiser = Optimiser(OptimiserConfig(), Parameters([], [], [weight]), steps=10)
    set_gradient(weight, 1.0)
    take(optimiser, 0.0)
    assert torch.equal(weight.detach(), torch.ones(2))
    assert optimiser.taken == 1


def test_an_encoder_that_rests_does_not_decay() -> None:
    plm, pooling, head = (torch.nn.Parameter(torch.ones(2, 2)) for _ in range(3))
    rates = OptimiserConfig(encoder_learning_rate=0.1, learning_rate=0.1)
    for update_encoder, back_propagated in ((False, False), (True, False)):
        optimiser = Optimiser(rates, Parameters([plm], [pooling], [head]), steps=4)
        for parameter in (plm, pooling, head):
            set_gradient(parameter, 1.0)
        before = head.detach().clone()
        take(optimiser, 1.0, encoder=update_encoder, reached=back_propagated)
        assert torch.equal(plm.detach(), torch.ones(2, 2))
        assert torch.equal(pooling.detach(), torch.ones(2, 2))
        assert not torch.equal(head.detach(), before)


def test_the_encoder_is_divided_by_the_counts_since_its_last_update() -> None:
    encoder, head = torch.nn.Parameter(torch.zeros(2, 2)), torch.nn.Parameter(torch.zeros(2, 2))
    optimiser = Optimiser(OptimiserConfig(clip_norm=1e9), Parameters([encoder], [], [head]), steps=10)
    for count, update in ((3.0, False), (0.0, False), (5.0, True), (2.0, True)):
        optimiser.zero_grad()
        of_head, of_encoder = set_gradient(head, 4.0), set_gradient(encoder, 4.0 if update else 0.0)
        take(optimiser, count, encoder=update, reached=update)
        assert of_head.mean() == pytest.approx(4 / count if count else 4)
        if update:
            assert of_encoder.mean() == pytest.approx(4 / (8 if count == 5 else 2))


def test_each_part_has_its_peak_rate_and_its_own_clip() -> None:
    plm, pooling, head = (torch.nn.Parameter(torch.zeros(2, 2)) for _ in range(3))
    config = OptimiserConfig(
        encoder_learning_rate=1e-3, pooling_learning_rate=1e-2, learning_rate=1e-1, warm_up_share=0.0, clip_norm=1.0
    )
    optimiser = Optimiser(config, Parameters([plm], [pooling], [head]), steps=10)
    for parameter in (plm, pooling, head):
        set_gradient(parameter, 3.0)
    take(optimiser, 1.0)
    assert torch.linalg.vector_norm(optimiser.gradients.of("encoder")) == pytest.approx(1.0, rel=1e-3)
    assert torch.linalg.vector_norm(optimiser.gradients.of("head")) == pytest.approx(1.0, rel=1e-3)
    moved = [float(parameter.detach().abs().mean()) for parameter in (plm, pooling, head)]
    assert moved == pytest.approx([1e-3, 1e-2, 1e-1], rel=1e-3)


def test_fewer_updates_of_the_encoder_are_larger() -> None:
    moved = []
    for planner in (PlannerConfig(policy="accumulated", accumulate_steps=9), PlannerConfig(policy="cached")):
        plm, pooling, head = (torch.nn.Parameter(torch.zeros(2, 2)) for _ in range(3))
        optimiser = Optimiser(
            OptimiserConfig(encoder_learning_rate=1e-3, learning_rate=1e-3, warm_up_share=0.0),
            Parameters([plm], [pooling], [head]),
            steps=10,
            encoder_factor=planner.encoder_rate_factor,
        )
        for parameter in (plm, pooling, head):
            set_gradient(parameter, 1.0)
        take(optimiser, 1.0)
        moved.append([float(parameter.detach().abs().mean()) for parameter in (plm, pooling, head)])
    assert moved[0] == pytest.approx([3e-3, 3e-3, 1e-3], rel=1e-3)
    assert moved[1] == pytest.approx([1e-3, 1e-3, 1e-3], rel=1e-3)


def stepped(weight: torch.nn.Parameter) -> Optimiser:
    optimiser = Optimiser(OptimiserConfig(), Parameters([], [], [weight]), steps=10)
    set_gradient(weight, 1.0)
    take(optimiser, 1.0)
    return optimiser


def test_moments_of_other_parameters_are_not_taken_over() -> None:
    state = stepped(torch.nn.Parameter(torch.ones(2, 3))).state_dict()
    other = Optimiser(OptimiserConfig(), Parameters([], [], [torch.nn.Parameter(torch.ones(3, 2))]), steps=10)
    with pytest.raises(ValueError, match=r"head/0 is .*\(2, 3\).*for a parameter of \(3, 2\)"):
        other.load_state_dict(state)


def test_rates_and_decay_are_the_configs_whatever_a_state_says() -> None:
    state = stepped(torch.nn.Parameter(torch.ones(2, 2))).state_dict()
    for group in state["groups"]["head"]["param_groups"]:
        group |= {"weight_decay": 1e9, "betas": "none", "maximize": True, "peak_rate": None}
    weight, twin = (torch.nn.Parameter(torch.zeros(2, 2)) for _ in range(2))
    optimiser = Optimiser(OptimiserConfig(), Parameters([], [], [weight]), steps=10)
    optimiser.load_state_dict(state)
    unspoilt = Optimiser(OptimiserConfig(), Parameters([], [], [twin]), steps=10)
    unspoilt.load_state_dict(stepped(torch.nn.Parameter(torch.ones(2, 2))).state_dict())
    for each, one in ((weight, optimiser), (twin, unspoilt)):
        set_gradient(each, 1.0)
        take(one, 1.0)
    assert torch.equal(weight, twin)


def test_where_a_step_is_not_finite_weights_and_moments_stay() -> None:
    weight = torch.nn.Parameter(torch.ones(2, 2))
    optimiser = stepped(weight)
    before, moments = weight.detach().clone(), copy.deepcopy(optimiser.state_dict()["groups"])
    set_gradient(weight, float("nan"))
    take(optimiser, 1.0, finite=False)
    assert torch.equal(weight.detach(), before)
    for moment, value in moments["head"]["state"][0].items():
        assert torch.equal(optimiser.state_dict()["groups"]["head"]["state"][0][moment], value)
    set_gradient(weight, 1.0)
    take(optimiser, 1.0)
    assert not torch.equal(weight.detach(), before)


def test_a_parameter_that_no_gradient_reaches_does_not_decay() -> None:
    used, unused = torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2, 2))
    rates = OptimiserConfig(learning_rate=0.1, warm_up_share=0.0)
    optimiser = Optimiser(rates, Parameters([], [], [used, unused]), steps=4, unreached=[unused])
    set_gradient(used, 1.0)
    take(optimiser, 1.0)
    assert unused.grad is None
    assert torch.equal(unused.detach(), torch.ones(2, 2))
    assert not torch.equal(used.detach(), torch.ones(2, 2))
