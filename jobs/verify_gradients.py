"""Verify on a language model of your choice, in float64, that encoding each item once loses no gradient."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table as Screen

from jobs.cli.command_line import run
from jobs.cli.progress import stage
from schemas.errors import InputError
from trainer.exact.proofs import EXACT, Proof, prove
from trainer.exact.scene import Scene, SceneConfig
from trainer.model.text_encoder import TextEncoderConfig
from trainer.model.user_encoder import UserEncoderConfig


class InexactError(InputError):
    """A rule that must be exact does not hold with this language model on this machine."""


def verify_gradients(
    *,
    encoder: TextEncoderConfig = TextEncoderConfig(),  # noqa: B008 - frozen
    user: UserEncoderConfig = UserEncoderConfig(),  # noqa: B008 - frozen
    items: int = 12,
    steps: int = 4,
    seed: int = 1,
    ranks: bool = True,
) -> dict[str, Any]:
    """Largest absolute difference of a gradient for each exactness rule, with a control that must differ.

    All layers are trained, whatever encoder.frozen_layers is, and vectors are 16 wide.

    Parameters
    ----------
    encoder
        The text encoder to verify.
    user
        The user model above it.
    items
        Random items that are encoded.
    steps
        Optimisation steps of the epoch.
    seed
        Decides tokens, trajectories and the weights that are not the language model's.
    ranks
        Also train with two processes.
    """
    if items < 4 or steps < 2:
        raise InputError(f"--items {items} --steps {steps}: use 4 items or more, and 2 steps or more")
    scene = SceneConfig(encoder=encoder, user=user, items=items, steps=steps, seed=seed)
    with stage(f"gradients of {encoder.plm} in float64"):
        found = prove(Scene(scene), ranks=ranks)
    _show(found)
    wrong = {name: proof.difference for name, proof in found.items() if not proof.holds}
    if wrong:
        raise InexactError(f"not exact, or its control does not differ: {wrong}")
    return {name: proof.difference for name, proof in found.items()}


def _show(found: dict[str, Proof]) -> None:
    screen = Screen("claim", title=f"Largest absolute difference of a gradient; exact is below {EXACT:.0e}")
    screen.add_column("difference", justify="right", no_wrap=True)
    screen.add_column("control", justify="right", no_wrap=True)
    screen.add_column("which is")
    for proof in found.values():
        figures = (f"{proof.difference:.1e}", f"{proof.control:.1e}")
        screen.add_row(proof.claim, *figures, proof.switched_off, style=None if proof.holds else "bold red")
    Console(highlight=False).print(screen)


if __name__ == "__main__":
    raise SystemExit(run(verify_gradients))
