"""The run: it learns, resumes from a checkpoint to the bit, and refuses checkpoints that are not its own."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pytest
import torch

from schemas.errors import ContractError
from schemas.manifest import Manifest
from schemas.tokenizer_content import content_sha256
from tests.exported import tiny_tokenizer
from tests.packed import packed_directory, tiny_plm
from trainer.checkpoint.files import ResumeError, load_checkpoint, save_checkpoint
from trainer.config import TrainConfig
from trainer.data.directory import PackedDirectory
from trainer.data.position import Order
from trainer.data.reader import Reader
from trainer.encode.policies import PlannerConfig, Policy
from trainer.eval.baselines import zero_shot_scores
from trainer.eval.impressions import Impressions
from trainer.eval.ranking import model_scores
from trainer.loop.metrics_log import RunLog
from trainer.loop.trainer import Trainer
from trainer.model.item_vectors import encode_rows
from trainer.model.pretrained import load_plm
from trainer.model.split_encoder import SplitEncoder
from trainer.model.text_encoder import TextEncoderConfig
from trainer.optimise.optimiser import NonFiniteError, OptimiserConfig
from trainer.run_config import RunConfig
from trainer.setup.item_rows import clicks_per_row
from trainer.setup.prepare import Prepared, prepare, short_superblocks
from trainer.setup.token_check import check_tokens

CPU = torch.device("cpu")


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    return TrainConfig(
        run=RunConfig(epochs=3, batches_per_step=2, seed=4, samples_per_step=5, log_every_steps=3),
        encoder=TextEncoderConfig(plm=tiny_plm(tmp_path / "plm"), frozen_layers=1, vector_width=8, pooling_width=8),
        planner=PlannerConfig(policy="cached", warm_up_steps=3, max_age_steps=4, chunk_sizes=(16, 4)),
        optimiser=OptimiserConfig(encoder_learning_rate=1e-3, learning_rate=1e-2),
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return packed_directory(tmp_path / "packed")


def start(config: TrainConfig, data: Path) -> Trainer:
    return Trainer(ready(config, data))


def ready(config: TrainConfig, data: Path) -> Prepared:
    return prepare(config, data, store=None, device=CPU, progress=lambda *_: None)


def fit(trainer: Trainer, folder: Path, *, stop_at: int | None = None) -> list[float]:
    """Loss sums of the steps taken."""
    losses: list[float] = []
    take = trainer.take_step

    def noted(step):  # type: ignore[no-untyped-def]
        losses.append(float(loss := take(step)))
        return loss

    trainer.take_step = noted  # type: ignore[method-assign]
    folder.mkdir(exist_ok=True)
    log = RunLog(path=folder / "metrics.jsonl", every=3, total_steps=trainer.total_steps)
    trainer.fit(log, after_step=lambda: trainer.step == stop_at)
    return losses


def fit_in_two(config: TrainConfig, data: Path, folder: Path, *, stop_at: int) -> tuple[Trainer, list[float]]:
    """A run that is saved at `stop_at` and resumed by another trainer: (the second trainer, all losses)."""
    first = start(config, data)
    begun = fit(first, folder / "first", stop_at=stop_at)
    save_checkpoint(first.checkpoint(), folder / "checkpoint")
    second = start(config, data)
    second.restore(load_checkpoint(folder / "checkpoint"))
    return second, begun + fit(second, folder / "second")


@pytest.mark.parametrize("policy", get_args(Policy))
def test_every_policy_learns(config: TrainConfig, data: Path, tmp_path: Path, policy: Policy) -> None:
    config = replace(config, planner=replace(config.planner, policy=policy), run=replace(config.run, epochs=6))
    trainer = start(config, data)
    losses = fit(trainer, tmp_path / "run")
    assert len(losses) == trainer.total_steps == trainer.step
    fifth = len(losses) // 5
    assert np.mean(losses[-fifth:]) < 0.95 * np.mean(losses[:fifth])


def test_naive_and_once_take_the_same_first_step(config: TrainConfig, data: Path, tmp_path: Path) -> None:
    plm = tiny_plm(tmp_path / "still", dropout=0.0)
    config = replace(config, encoder=replace(config.encoder, plm=plm))
    first = {}
    for policy in ("naive", "once"):
        chosen = replace(config, planner=replace(config.planner, policy=policy))
        first[policy] = fit(start(chosen, data), tmp_path / policy, stop_at=2)
    assert first["naive"] == pytest.approx(first["once"], rel=1e-4)


def test_bfloat16_learns_as_float32_does_and_keeps_its_weights_in_float32(
    config: TrainConfig, data: Path, tmp_path: Path
) -> None:
    config = replace(config, run=replace(config.run, epochs=6), planner=replace(config.planner, policy="once"))
    half = replace(config, run=replace(config.run, precision="bfloat16"))
    trainer = start(half, data)
    losses = {"unbroken": fit(start(config, data), tmp_path / "unbroken"), "half": fit(trainer, tmp_path / "half")}
    assert losses["half"] != losses["unbroken"]
    assert losses["half"] == pytest.approx(losses["unbroken"], rel=0.05)
    assert {tensor.dtype for tensor in trainer.model.state_dict().values() if tensor.is_floating_point()} == {
        torch.float32
    }
    kept = replace(half, run=replace(half.run, kept_chunks=0))
    assert fit(start(kept, data), tmp_path / "replayed") == losses["half"]


@pytest.mark.parametrize(
    ("policy", "stop_at"), [("cached", 1), ("cached", 6), ("accumulated", 4), ("accumulated", 6), ("carried", 7)]
)
def test_a_resumed_run_equals_one_that_never_stopped(
    config: TrainConfig, data: Path, tmp_path: Path, policy: Policy, stop_at: int
) -> None:
    config = replace(config, planner=replace(config.planner, policy=policy))
    unbroken = start(config, data)
    losses = fit(unbroken, tmp_path / "unbroken")
    second, in_two = fit_in_two(config, data, tmp_path, stop_at=stop_at)
    assert in_two == losses
    ours, theirs = unbroken.model.state_dict(), second.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert torch.equal(unbroken.table.vector_VD, second.table.vector_VD)


def test_variants_take_turns_and_the_run_resumes_in_the_right_one(config: TrainConfig, tmp_path: Path) -> None:
    data = packed_directory(tmp_path / "packed", variants=2)
    opened = PackedDirectory.open(data)
    unbroken = start(config, data)
    targets = [sum(sum(b.targets) for _, _, b in opened.superblocks if b.variant == v) for v in (0, 1, 0)]
    assert unbroken.total_steps == 9
    losses = fit(unbroken, tmp_path / "unbroken")
    assert [sum(unbroken.reader.targets(epoch)) for epoch in range(3)] == targets
    assert fit_in_two(config, data, tmp_path, stop_at=4)[1] == losses


def test_the_frozen_store_holds_the_items_of_every_variant(config: TrainConfig, tmp_path: Path) -> None:
    prepared = ready(config, packed_directory(tmp_path / "packed", variants=2, trajectories=8, items=300))
    later = {
        int(row)
        for batches in Reader(prepared.directory, Order(seed=1, batches_per_step=1)).steps(1)
        for batch in batches
        for row in batch.ask_M
    }
    _, rows = clicks_per_row(prepared.directory, config)
    assert later <= set(rows.tolist())


def test_a_file_that_breaks_while_training_stops_the_run_by_name(
    config: TrainConfig, data: Path, tmp_path: Path
) -> None:
    trainer = start(config, data)
    path = data / "batches" / "part-1.parquet"
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(ContractError, match=r"part-1\.parquet, its footer: sha256 .*the manifest says.*jobs\.pack"):
        fit(trainer, tmp_path / "run")


def test_superblocks_shorter_than_a_vectors_life_give_a_hint(config: TrainConfig, tmp_path: Path) -> None:
    def hint(batches: int, policy: Policy) -> str | None:
        data = packed_directory(tmp_path / f"{batches}-{policy}", config={"superblock_batches": batches})
        return short_superblocks(ready(replace(config, planner=replace(config.planner, policy=policy)), data))

    assert (hint(10, "cached"), hint(9, "once")) == (None, None)
    assert "packed with --superblock-batches 10" in str(hint(9, "cached"))


def test_a_checkpoint_of_other_data_or_config_is_refused(config: TrainConfig, data: Path, tmp_path: Path) -> None:
    saved = start(config, data).checkpoint()
    other = packed_directory(tmp_path / "other", seed=9)
    with pytest.raises(ResumeError, match="was trained on packed directory"):
        start(config, other).restore(saved)
    with pytest.raises(ResumeError, match="another config"):
        start(replace(config, run=replace(config.run, seed=9)), data).restore(saved)


@pytest.mark.parametrize(
    ("part", "key"), [("state", "position"), ("state", "optimiser"), ("tensors", "planner-0"), ("tensors", "table-0")]
)
def test_a_checkpoint_that_lacks_something_is_refused(config: TrainConfig, data: Path, part: str, key: str) -> None:
    saved = start(config, data).checkpoint()
    lacking = {name: value for name, value in getattr(saved, part).items() if name != key}
    with pytest.raises(ResumeError, match="the checkpoint is damaged"):
        start(config, data).restore(replace(saved, **{part: lacking}))
    with pytest.raises(ResumeError, match="the checkpoint is damaged"):
        start(config, data).restore(replace(saved, **{part: {**getattr(saved, part), key: {"what": "ever"}}}))


def changing(trainer: Trainer) -> list[dict[str, Any]]:
    """The tensors that a step changes."""
    parts = [
        trainer.model.state_dict(),
        trainer.optimiser.state_dict()["groups"],
        {"vector_VD": trainer.table.vector_VD},
    ]
    return copy.deepcopy(parts)


def same_tensors(one: Any, other: Any) -> bool:
    ours, theirs = (torch.utils._pytree.tree_leaves(each) for each in (one, other))
    tensors = [(a, b) for a, b in zip(ours, theirs, strict=True) if isinstance(a, torch.Tensor)]
    return len(tensors) > 10 and all(torch.equal(a, b) for a, b in tensors)


def test_a_non_finite_loss_leaves_everything_as_it_was(config: TrainConfig, data: Path) -> None:
    trainer = start(config, data)
    steps = trainer.epoch_steps()
    trainer.take_step(next(steps))
    trainer.check_finite()
    start_D = trainer.model["head"].user.start_D  # type: ignore[union-attr]
    with torch.no_grad():
        sound_D = start_D.clone()  # type: ignore[operator]
        start_D.fill_(float("inf"))  # type: ignore[operator]
    before = changing(trainer)
    trainer.take_step(next(steps))
    with torch.no_grad():
        start_D.copy_(sound_D)  # type: ignore[operator]
        before[0]["head.user.start_D"] = sound_D
    for _ in range(3):  # finite again, but they follow a step that was not
        trainer.take_step(next(steps))
    assert same_tensors(changing(trainer), before)
    wanted = r"step 1, epoch 0, .*part-\d+.*row group \d+, its batch \d+.*the loss is"
    with pytest.raises(NonFiniteError, match=wanted):
        trainer.checkpoint()
    with pytest.raises(NonFiniteError, match=wanted):
        trainer.check_finite()


def test_tokens_of_another_tokenizer_are_refused(config: TrainConfig, data: Path) -> None:
    (Path(config.encoder.plm) / "tokenizer.json").write_text("{}")
    with pytest.raises(
        ContractError, match=r"tokens of tokenizer 'random'.*\./feedloop prepare_news --lake"
    ) as refused:
        ready(config, data)
    options = f"--tokenizer {config.encoder.plm} --tokens-per-segment 10 --select text --fields title, then"
    assert options in str(refused.value)


def test_a_tokenizer_that_was_saved_again_is_the_same(config: TrainConfig, data: Path) -> None:
    folder = Path(config.encoder.plm)
    tiny_tokenizer(folder)
    text = (folder / "tokenizer.json").read_text()
    manifest = PackedDirectory.open(data).manifest
    made = replace(manifest, tokens=replace(manifest.tokens, tokenizer_content=content_sha256(text)))
    split = SplitEncoder(load_plm(str(folder)), frozen_layers=0)
    (folder / "tokenizer.json").write_text(json.dumps(json.loads(text), indent=4))
    check_tokens(made, str(folder), split)
    with pytest.raises(ContractError, match="which is not that of plm"):
        check_tokens(manifest, str(folder), split)


def test_a_smaller_vocabulary_than_the_tokens_is_refused(data: Path, tmp_path: Path) -> None:
    manifest = PackedDirectory.open(data).manifest

    def with_tokens(**changed: Any) -> Manifest:
        config = {"source": "mind", "news": {"near_duplicates": 0.9}}
        return replace(manifest, tokens=replace(manifest.tokens, **changed), config=config)

    split = SplitEncoder(load_plm(tiny_plm(tmp_path / "small")), frozen_layers=0)
    with pytest.raises(ContractError, match="vocabulary of 201, plm 'x' has 200"):
        check_tokens(with_tokens(vocabulary=201), "x", split)
    with pytest.raises(
        ContractError,
        match=r"segments of 65 tokens, plm 'x' reads 64\..* --source mind .*-segment 64 .*-duplicates 0.9 ",
    ):
        check_tokens(with_tokens(tokens_per_segment=65), "x", split)
    with pytest.raises(ContractError, match=r"--fields title --category-first, then"):
        check_tokens(with_tokens(vocabulary=201, category_first=True), "x", split)


def test_a_checkpoint_above_other_frozen_layers_is_refused(config: TrainConfig, data: Path) -> None:
    saved = start(config, data).checkpoint()
    state = {**saved.state, "frozen_sha256": "0" * 64}
    with pytest.raises(ResumeError, match="another language model"):
        start(config, data).restore(replace(saved, state=state))


def test_frozen_output_is_stored_once_and_read_again(config: TrainConfig, data: Path) -> None:
    filled: list[int] = []
    prepare(config, data, store=None, device=CPU, progress=lambda done, _: filled.append(done))
    assert sum(filled) > 0
    store = data.with_name("packed.frozen")
    written = {path.name: path.stat().st_mtime_ns for path in store.iterdir()}
    prepare(config, data, store=None, device=CPU, progress=lambda done, _: pytest.fail(f"computed {done} rows again"))
    assert {path.name: path.stat().st_mtime_ns for path in store.iterdir()} == written


@pytest.mark.parametrize("model", ["autoregressive", "nrms"])
def test_scores_equal_one_impression_at_a_time(
    config: TrainConfig, data: Path, model: Literal["autoregressive", "nrms"]
) -> None:
    config = replace(config, user=replace(config.user, model=model))
    prepared = ready(config, data)
    impressions = Impressions.of(prepared.directory.evaluation())
    scores = model_scores(prepared.encoder, prepared.head.user, prepared.items, impressions, history_clicks=2)
    zero_shot = zero_shot_scores(prepared.encoder, prepared.items, impressions)
    encoder, user = prepared.encoder.eval(), prepared.head.user
    with torch.no_grad():
        for number in range(impressions.size):
            a, b = impressions.history_start_I1[number : number + 2]
            x, y = impressions.shown_start_I1[number : number + 2]
            history, shown = impressions.history_Y[a:b].astype(np.int64), impressions.shown_X[x:y].astype(np.int64)
            seen = encoder(history[-2:], prepared.items) if b > a else torch.zeros(0, 8)
            mask, earlier = torch.ones(1, len(seen), dtype=torch.bool), torch.arange(len(seen))[None]
            state = user(seen[None], mask, earlier, torch.tensor([[len(seen)]]))[0, 0]
            vectors = encode_rows(lambda rows_C: encoder(rows_C, prepared.items), prepared.items, shown)
            assert scores[x:y] == pytest.approx((vectors @ state).numpy(), abs=1e-5)
            if b == a:
                assert not zero_shot[x:y].any()
                continue
            rows = np.concatenate([history, shown])
            pooled = torch.nn.functional.normalize(encoder.pooled(rows, prepared.items))
            wanted = pooled[len(history) :] @ pooled[: len(history)].mean(0)
            assert zero_shot[x:y] == pytest.approx(wanted.numpy(), abs=1e-5)
