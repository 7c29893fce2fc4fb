"""Sums in buckets equal one sum to the bit, and begin while the last backward pass runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.multiprocessing.spawn import start_processes

from tests.packed import packed_directory, tiny_plm
from tests.trainer.loop.test_trainer import ready
from trainer.config import TrainConfig
from trainer.encode.policies import PlannerConfig
from trainer.loop.trainer import Trainer
from trainer.model.text_encoder import TextEncoderConfig
from trainer.optimise.compiled import traced
from trainer.optimise.gradients import FlatGradients
from trainer.optimise.optimiser import OptimiserConfig
from trainer.ranks import buckets
from trainer.ranks.buckets import Bucket, BucketReducer
from trainer.ranks.process_group import RankLostError, Ranks, begin_sum, sum_in_place
from trainer.run_config import RunConfig

WORLD, STEPS = 2, 5  # of 3, 3, 3, 3 and 1 batches: two ranks hold 2 and 1, and at last 1 and none
CASES: dict[str, dict[str, Any]] = {
    "once": {},
    "in bfloat16, replayed": {"run": {"precision": "bfloat16", "kept_chunks": 0}},
    "accumulated": {"planner": {"policy": "accumulated", "accumulate_steps": 2}},
    "shared": {"planner": {"policy": "cached", "share_encoding": True, "max_age_steps": 3}},
}


def config(case: str, plm: Path) -> TrainConfig:
    options = {"run": {}, "planner": {}, **CASES[case]}
    run = RunConfig(batches_per_step=3, streams=1, drift_every_steps=0, reader="arrow")
    return TrainConfig(
        run=replace(run, **options["run"]),
        encoder=TextEncoderConfig(plm=str(plm), frozen_layers=0, vector_width=8, pooling_width=8),
        planner=replace(PlannerConfig(policy="once", warm_up_steps=1, chunk_sizes=(16, 4)), **options["planner"]),
        optimiser=OptimiserConfig(encoder_learning_rate=1e-2, learning_rate=1e-2),
    )


class AtOnce:
    """A reducer with one sum per step, after all backward passes."""

    def __init__(self, gradients: FlatGradients) -> None:
        self.gradients = gradients

    def send(self, tensor: Tensor) -> None:
        pass

    def finish(self, *, buckets: bool) -> None:
        sum_in_place(self.gradients.up_to("encoder" if buckets else "head"))


class Recorded:
    """What a rank sends, as [start, numbers] of the flat gradients, between the marks of its last backward passes, and
    when these reach the encoder's first parameter (of float32, not of a copy)."""

    def __init__(self, trainer: Trainer) -> None:
        self.events: list[Any] = []
        self._last = False
        trainer.optimiser.gradients.parts["encoder"][-1].register_post_accumulate_grad_hook(self.input_reached)
        self._backward = trainer.parts.encode.backward
        trainer.parts.encode.backward = self.backward  # type: ignore[method-assign]

    def begin_sum(self, tensor: Tensor) -> Any:
        self.events.append([tensor.storage_offset(), tensor.numel()])
        return begin_sum(tensor)

    def backward(self, vector_CD: Tensor, gradient_CD: Tensor, *, last: bool) -> None:
        self.events += ["begin"] * last
        self._last = last
        self._backward(vector_CD, gradient_CD, last=last)
        self.events += ["end"] * last

    def input_reached(self, _parameter: Tensor) -> None:
        self.events += ["input"] * self._last


def trained(trainer: Trainer) -> list[Tensor]:
    for step in trainer.epoch_steps():
        trainer.take_step(step)
    trainer.check_finite()
    return [p.detach().clone() for p in trainer.model.parameters()]


def both_ways(case: str, data: Path, ranks: Ranks) -> dict[str, Any]:
    """Trains with one sum per step and with buckets of 100 numbers."""
    chosen = config(case, data.parent / "plm")
    one, many = (Trainer(ready(chosen, data), ranks) for _ in range(2))
    one.optimiser.reducer = AtOnce(one.optimiser.gradients)  # type: ignore[assignment]
    one.parts.encode._reducer = None
    recorded = Recorded(many)
    many.optimiser.reducer = many.parts.encode.reducer(many.optimiser.gradients, "encoder", numbers=100)
    expected = trained(one)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(buckets, "begin_sum", recorded.begin_sum)
        found = trained(many)
    gradients = many.optimiser.gradients
    return {
        "equal": all(map(torch.equal, expected, found)),
        "events": recorded.events,
        "ends": [gradients.up_to(part).numel() for part in ("head", "encoder")],
    }


def _work(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=WORLD)
    found = {case: both_ways(case, folder / "packed", Ranks(rank, WORLD)) for case in CASES}
    (folder / f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


class Step(NamedTuple):
    before: list[list[int]]
    during: list[list[int]]
    early: int
    after: list[list[int]]


def steps_of(events: list[Any]) -> Iterator[Step]:
    """A step begins with a sum at 0, that of the head."""
    starts = [at for at, event in enumerate(events) if isinstance(event, list) and event[0] == 0]
    for start, end in zip(starts, [*starts[1:], len(events)], strict=True):
        step = events[start:end]
        if "begin" in step:
            begin, ended = step.index("begin"), step.index("end")
            during = step[begin + 1 : ended]
            early = during.index("input") if "input" in during else len(during)
            yield Step(step[:begin], [event for event in during if event != "input"], early, step[ended + 1 :])
        else:
            yield Step(step[:1], [], 0, step[1:])


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("buckets")
    packed_directory(folder / "packed", trajectories=52)
    tiny_plm(folder / "plm")
    start_processes(_work, args=(folder,), nprocs=WORLD, start_method="spawn")
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(WORLD)]


@pytest.mark.parametrize("case", CASES)
def test_buckets_are_one_sum_to_the_bit_and_begin_during_the_backward_pass(
    found: list[dict[str, Any]], case: str
) -> None:
    assert all(of_rank[case]["equal"] for of_rank in found)
    head, encoder = found[0][case]["ends"]
    by_rank = [list(steps_of(of_rank[case]["events"])) for of_rank in found]
    assert [len(steps) for steps in by_rank] == [STEPS, STEPS]
    for steps in zip(*by_rank, strict=True):
        sent = [step.before + step.during + step.after for step in steps]
        assert sent[0] == sent[1]  # in one order on both ranks
        assert sent[0][0] == [0, head]
        ends = [start + numbers for start, numbers in sent[0]]
        assert [start for start, _ in sent[0]] == [0, *ends[:-1]]  # each number once
        assert ends[-1] in {head, encoder}
        for step in steps:
            assert len(step.before) == 1
            assert bool(step.during) or len(step.after) in {0, len(sent[0]) - 1}
            assert step.early > 10 or not step.during  # most are sent before the first layer's gradients are there
    assert any(step.during for step in by_rank[0])
    if case == "once":
        assert found[0][case]["events"].count("input") == STEPS
        assert all(not step.after for step in by_rank[0])  # every parameter is reached
        assert not by_rank[1][-1].during  # a rank without a batch


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """What is sent, and at last None for each wait."""
    sent: list[Any] = []

    def begin(tensor: Tensor) -> Any:
        sent.append(tensor.clone())
        return lambda: sent.append(None)

    monkeypatch.setattr(buckets, "begin_sum", begin)
    return sent


def test_buckets_keep_their_order_and_only_the_armed_pass_sends_them(sent: list[Any]) -> None:
    late, early, never = (nn.Parameter(torch.ones(2)) for _ in range(3))
    gradients = FlatGradients({"all": [late, early, never]})
    collected: list[slice] = []
    reducer = BucketReducer(gradients.flat, gradients.buckets("all", 1), collected.append)
    (late + early).sum().backward()
    assert not sent
    reducer.send(torch.zeros(1))
    reducer.arm()
    early.sum().backward()  # its turn has not come
    assert len(sent) == 1
    late.sum().backward()
    assert [tensor.tolist() for tensor in sent] == [[0.0], [2.0, 2.0], [2.0, 2.0]]
    assert collected == [slice(0, 2), slice(2, 4)]
    reducer.finish(buckets=True)
    assert sent[3].tolist() == [0.0, 0.0]
    assert sent[4:] == [None] * 4
    (late + early + never).sum().backward()  # no longer armed
    reducer.finish(buckets=False)
    assert len(sent) == 8


def test_a_compiled_pass_sends_buckets_too(sent: list[Any]) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    gradients = FlatGradients({"all": [*model.parameters()][::-1]})
    reducer = BucketReducer(gradients.flat, gradients.buckets("all", 1), lambda _: None)
    compiled = traced(model)
    for _ in range(2):
        vectors = compiled(torch.ones(1, 3))
        sent.clear()
        gradients.zero()
        reducer.arm()
        vectors.sum().backward()
        assert torch.equal(torch.cat(sent), gradients.flat)
        reducer.finish(buckets=True)
        assert sent[4:] == [None] * 4


def test_buckets_do_not_divide_parameters() -> None:
    parameters = [nn.Parameter(torch.zeros(size)) for size in (1, 2, 5, 1)]
    gradients = FlatGradients({"head": [nn.Parameter(torch.zeros(7))], "encoder": parameters, "none": []}, extra=3)
    found = gradients.buckets("encoder", 3)
    assert found == [
        Bucket(slice(0, 3), parameters[:2]),
        Bucket(slice(3, 8), parameters[2:3]),
        Bucket(slice(8, 9), parameters[3:]),
    ]
    assert gradients.buckets("none", 3) == []


@pytest.mark.parametrize("begins", [True, False])
def test_a_rank_that_is_lost_during_a_sum_is_named(monkeypatch: pytest.MonkeyPatch, *, begins: bool) -> None:
    class Lost:
        def wait(self) -> None:
            raise RuntimeError("Connection closed by peer\nmore")

    def all_reduce(_tensor: Tensor, *, async_op: bool) -> Lost:
        if not (async_op and begins):
            raise RuntimeError("Connection closed by peer")
        return Lost()

    monkeypatch.setattr(dist, "all_reduce", all_reduce)
    with pytest.raises(RankLostError, match=r"is gone.*\(Connection closed by peer\).*--resume auto"):
        begin_sum(torch.zeros(1))()


def test_one_process_has_no_reducer_and_no_hooks(tmp_path: Path) -> None:
    tiny_plm(tmp_path / "plm")
    trainer = Trainer(ready(config("once", tmp_path / "plm"), packed_directory(tmp_path / "packed")))
    assert trainer.optimiser.reducer is None
    assert not any(p._post_accumulate_grad_hooks for p in trainer.model.parameters())
